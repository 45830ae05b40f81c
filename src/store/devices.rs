//! Devices of an account.

use chrono::{DateTime, Utc};

use super::publication::{PackageColumns, PublishOutcome, publish_outcome};
use super::{NewKeyPackage, Store, StoreError, accounts, rows};
use crate::types::{CoarseTime, DeviceId, Did};

/// A device to register, with its first key packages.
#[derive(Clone, Debug)]
pub struct NewDevice {
    pub user: Did,
    pub device: DeviceId,
    pub name: String,
    pub signature_key: Vec<u8>,
    pub packages: Vec<NewKeyPackage>,
}

/// A registered device.
#[derive(Clone, Debug)]
pub struct Device {
    pub device: DeviceId,
    pub name: String,
    pub registered_at: CoarseTime,
    pub last_seen_at: CoarseTime,
    /// Key packages that nobody has claimed.
    pub key_packages: u64,
}

impl Store {
    /// Registers a device, or registers it anew.
    pub async fn register_device(
        &self,
        new: &NewDevice,
        devices_max: u32,
        open_max: u32,
    ) -> Result<PublishOutcome, StoreError> {
        let columns = PackageColumns::of(&new.packages);
        let [suites, packages, hashes, references, last_resort, expires] = columns.params();
        let (devices_max, open_max) = (
            i32::try_from(devices_max).unwrap_or(i32::MAX),
            i32::try_from(open_max).unwrap_or(i32::MAX),
        );
        let found = self
            .query(
                "SELECT register_device($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
                 AS outcome",
                &[
                    &new.user.expose(),
                    &new.device.expose(),
                    &new.name,
                    &new.signature_key,
                    &devices_max,
                    suites,
                    packages,
                    hashes,
                    references,
                    last_resort,
                    expires,
                    &open_max,
                ],
            )
            .await?;
        publish_outcome(&found)
    }

    /// The account's devices, latest seen first.
    pub async fn devices(&self, user: &Did) -> Result<Vec<Device>, StoreError> {
        let found = self
            .query(
                "SELECT d.device_id, d.name, d.registered_at, d.last_seen_at, \
                     (SELECT count(*) FROM key_packages k WHERE k.user_did = d.user_did \
                          AND k.device_id = d.device_id AND k.claimed_at IS NULL \
                          AND k.consumed_at IS NULL AND k.expires_at > now()) AS key_packages \
                 FROM devices d WHERE d.user_did = $1 ORDER BY d.last_seen_at DESC, d.device_id",
                &[&user.expose()],
            )
            .await?;
        found
            .iter()
            .map(|row| {
                Ok(Device {
                    device: rows::device(row, "device_id")?.ok_or(StoreError::Shape)?,
                    name: rows::get(row, "name")?,
                    registered_at: rows::time(row, "registered_at")?,
                    last_seen_at: rows::time(row, "last_seen_at")?,
                    key_packages: rows::count(row, "key_packages")?,
                })
            })
            .collect()
    }
}

/// What a deleted device had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeletedDevice {
    pub key_packages: u64,
    pub conversations: u64,
}

/// What became of a deletion.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DeleteOutcome {
    Done(DeletedDevice),
    /// Others would stay behind in a conversation without an admin.
    LastAdmin,
    NoSuchDevice,
}

/// The hashes that a device's packages had and have.
#[derive(Clone, Debug)]
pub struct SyncedKeyPackages {
    pub dropped: Vec<Vec<u8>>,
    pub kept: Vec<Vec<u8>>,
}

impl Store {
    /// Ends a device with all that hangs on it, and the tickets that the account was
    /// given before `now`.
    pub async fn delete_device(
        &self,
        user: &Did,
        device: &DeviceId,
        now: DateTime<Utc>,
    ) -> Result<DeleteOutcome, StoreError> {
        let (mark, until) = (accounts::ticket_mark(user), accounts::marked_until(now));
        let found = self
            .query(
                "SELECT outcome, packages, seats FROM delete_device($1, $2, $3, $4)",
                &[&user.expose(), &device.expose(), &mark.as_slice(), &until],
            )
            .await?;
        let Some(row) = found.first() else {
            return Ok(DeleteOutcome::NoSuchDevice);
        };
        match rows::get(row, "outcome")? {
            "done" => Ok(DeleteOutcome::Done(DeletedDevice {
                key_packages: rows::count(row, "packages")?,
                conversations: rows::count(row, "seats")?,
            })),
            "last_admin" => Ok(DeleteOutcome::LastAdmin),
            _ => Err(StoreError::Shape),
        }
    }

    /// Drops the unclaimed packages of a device (or of an account without devices) that are
    /// not among these hashes.
    pub async fn sync_key_packages(
        &self,
        user: &Did,
        device: Option<&DeviceId>,
        hashes: &[Vec<u8>],
    ) -> Result<SyncedKeyPackages, StoreError> {
        let found = self
            .query(
                "SELECT dropped, kept FROM sync_key_packages($1, $2, $3)",
                &[&user.expose(), &device.map(DeviceId::expose), &hashes],
            )
            .await?;
        let row = found.first().ok_or(StoreError::Shape)?;
        Ok(SyncedKeyPackages {
            dropped: rows::get(row, "dropped")?,
            kept: rows::get(row, "kept")?,
        })
    }
}

//! Devices of an account.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::accounts::{CONVOS_BITE, planned_anew};
use super::key_packages::{PublishOutcome, columns};
use super::rows::{bound, count, get};
use super::{NewKeyPackage, Params, Store, StoreError, accounts};
use crate::types::{DeviceId, Did, unprintable};
use crate::wire::Sha256Hex;
use crate::wire::calls::{DeviceView, device_did};

/// A device to register, with its first key packages.
#[derive(Clone)]
pub struct NewDevice {
    pub user: Did,
    pub device: DeviceId,
    pub name: String,
    pub signature_key: Vec<u8>,
    pub packages: Vec<NewKeyPackage>,
}

unprintable!(NewDevice);

impl Store {
    /// Registers a device, or registers it anew. Of a new one the account's conversations hear,
    /// `told_max` in an hour.
    pub async fn register_device(
        &self,
        new: &NewDevice,
        devices_max: u32,
        open_max: u32,
        told_max: u32,
    ) -> Result<PublishOutcome, StoreError> {
        let told_key = told_key(&new.user);
        let [suites, packages, hashes, references, last_resort, expires] = &columns(&new.packages);
        let sql = "SELECT register_device($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                   $13, $14) AS outcome";
        let params: Params<'_> = &[
            &new.user,
            &new.device,
            &new.name,
            &new.signature_key,
            &bound(devices_max),
            &**suites,
            &**packages,
            &**hashes,
            &**references,
            &**last_resort,
            &**expires,
            &bound(open_max),
            &told_key.as_slice(),
            &bound(told_max),
        ];
        let outcome = |row: &Row| match get(row, "outcome")? {
            "untold" => {
                metrics::counter!("relay_store_new_devices_untold_total").increment(1);
                Ok(PublishOutcome::Done)
            }
            _ => get(row, "outcome"),
        };
        self.calls().one(sql, params, outcome).await
    }

    /// The account's devices, latest seen first.
    pub async fn devices(&self, user: &Did) -> Result<Vec<DeviceView>, StoreError> {
        let sql = "SELECT d.device_id, d.name, d.registered_at, d.last_seen_at, \
                       (SELECT count(*) FROM key_packages k WHERE k.user_did = d.user_did \
                            AND k.device_id = d.device_id AND k.claimed_at IS NULL \
                            AND k.consumed_at IS NULL AND k.expires_at > now()) AS key_packages \
                   FROM devices d WHERE d.user_did = $1 ORDER BY d.last_seen_at DESC, d.device_id";
        let read = |row: &Row| {
            let device_id = get(row, "device_id")?;
            Ok(DeviceView {
                credential_did: device_did(user, Some(&device_id)),
                device_id,
                device_name: get(row, "name")?,
                last_seen_at: get(row, "last_seen_at")?,
                registered_at: get(row, "registered_at")?,
                key_package_count: count(row, "key_packages")?,
            })
        };
        self.calls().all(sql, &[user], read).await
    }
}

/// Under which the conversations that heard of the account's new devices are counted among the
/// claims. No claim hashes to it: theirs is the hash of two DIDs and one zero byte.
fn told_key(user: &Did) -> [u8; 32] {
    accounts::marked(user, "\0\0new device")
}

/// What a deleted device had.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DeletedDevice {
    pub key_packages: u64,
    pub conversations: u64,
}

/// The hashes that a device's packages had and have.
#[derive(Clone, Debug)]
pub struct SyncedKeyPackages {
    pub dropped: Vec<Sha256Hex>,
    pub kept: Vec<Sha256Hex>,
}

impl Store {
    /// Ends a device with all that hangs on it, and the tickets that the account was
    /// given before `now`. Its seats end in bites, so that a device in very many conversations
    /// makes nobody wait for all of them; if one fails, the same call goes on from there.
    /// Nothing: there is no such device.
    pub async fn delete_device(
        &self,
        user: &Did,
        device: &DeviceId,
        now: DateTime<Utc>,
    ) -> Result<Option<DeletedDevice>, StoreError> {
        let (mark, until) = (accounts::ticket_mark(user), accounts::marked_until(now));
        let mut gone = DeletedDevice::default();
        let mut after = String::new();
        for bite in 0_u64.. {
            let sql = concat!(
                "SELECT outcome, packages, seats, after FROM delete_device(",
                planned_anew!("$1"),
                ", $2, $3, $4, $5, $6)"
            );
            let params: Params<'_> =
                &[user, device, &mark.as_slice(), &until, &CONVOS_BITE, &after];
            let found = self.calls().query(sql, params).await?;
            let Some(row) = found.first() else {
                // Somebody who deletes it at the same time may have had the last bite.
                if bite == 0 {
                    return Ok(None);
                }
                break;
            };
            gone.key_packages += count(row, "packages")?;
            gone.conversations += count(row, "seats")?;
            match get(row, "outcome")? {
                "done" => break,
                "more" => after = get(row, "after")?,
                _ => return Err(StoreError::Shape),
            }
        }
        Ok(Some(gone))
    }

    /// Drops the unclaimed packages of a device (or of an account without devices) that are
    /// not among these hashes.
    pub async fn sync_key_packages(
        &self,
        user: &Did,
        device: Option<&DeviceId>,
        hashes: &[Sha256Hex],
    ) -> Result<SyncedKeyPackages, StoreError> {
        let sql = "SELECT dropped, kept FROM sync_key_packages($1, $2, $3)";
        let read = |row: &Row| {
            Ok(SyncedKeyPackages {
                dropped: get(row, "dropped")?,
                kept: get(row, "kept")?,
            })
        };
        self.calls().one(sql, &[user, &device, &hashes], read).await
    }
}

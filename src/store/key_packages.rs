//! Key packages: published, claimed once, counted.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::rows::{bound, bytes, column, count, get, outcomes};
use super::{Params, Store, StoreError};
use crate::types::{CipherSuite, CoarseTime, DeviceId, Did, unprintable};
use crate::wire::calls::SuiteStats;

/// A key package that was parsed and belongs to its publisher.
#[derive(Clone)]
pub struct NewKeyPackage {
    pub cipher_suite: CipherSuite,
    pub bytes: Vec<u8>,
    /// SHA-256 of the bytes.
    pub hash: [u8; 32],
    /// KeyPackageRef (RFC 9420 section 5.2).
    pub reference: Vec<u8>,
    pub last_resort: bool,
    pub expires_at: CoarseTime,
}

unprintable!(NewKeyPackage);

outcomes! {
    /// What became of a registration or a publication.
    PublishOutcome {
        Done = "done",
        /// Another device has this signature key.
        DuplicateKey = "duplicate_key",
        /// A package of another account or device is among them.
        Foreign = "foreign",
        TooManyDevices = "too_many_devices",
        TooManyKeyPackages = "too_many_key_packages",
    }
}

/// A key package handed out: nobody else gets it, unless it is the last resort.
#[derive(Clone)]
pub struct ClaimedKeyPackage {
    pub user: Did,
    /// `None` for an account without devices.
    pub device: Option<DeviceId>,
    pub bytes: Vec<u8>,
    pub hash: [u8; 32],
}

unprintable!(ClaimedKeyPackage);

/// Accounts to claim from, and how often that may be.
#[derive(Clone, Debug)]
pub struct Claim {
    pub users: Vec<Did>,
    pub suite: CipherSuite,
    /// One for each account: a hash of the claimer and that account.
    pub keys: Vec<[u8; 32]>,
    /// Claims of one account by one claimer in a `window`.
    pub claims_max: u32,
    pub window: Duration,
    /// Owners hear of it when fewer packages than this are left.
    pub low: u32,
    /// Devices of one account that one claim gives packages of.
    pub devices_max: u32,
    /// Bytes of packages in one claim; the first account's are given in any case.
    pub bytes_max: usize,
}

/// What became of a claim.
#[derive(Clone, Debug)]
pub enum ClaimOutcome {
    Claimed(Vec<ClaimedKeyPackage>),
    /// This one of the accounts was claimed from too often: nothing was given.
    TooOften {
        user: Did,
        retry_after: Duration,
    },
}

impl Store {
    /// Publishes packages of one device (or of an account without devices).
    pub async fn publish_key_packages(
        &self,
        user: &Did,
        device: Option<&DeviceId>,
        packages: &[NewKeyPackage],
        open_max: u32,
        devices_max: u32,
    ) -> Result<PublishOutcome, StoreError> {
        let [suites, packages, hashes, references, last_resort, expires] = &columns(packages);
        let sql = "SELECT publish_key_packages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let params: Params<'_> = &[
            user,
            &device,
            &**suites,
            &**packages,
            &**hashes,
            &**references,
            &**last_resort,
            &**expires,
            &bound(open_max),
            &bound(devices_max),
        ];
        self.calls().value(sql, params).await
    }

    /// Claims one package per device of each account.
    pub async fn claim_key_packages(&self, claim: &Claim) -> Result<ClaimOutcome, StoreError> {
        let sql = "SELECT user_did, device_id, key_package, hash, wait_seconds \
                   FROM claim_key_packages($1, $2, $3, $4, coarse_now() + make_interval(secs => $5) - now(), $6, $7, $8)";
        let params: Params<'_> = &[
            &claim.users,
            &claim.suite,
            &column(&claim.keys, |key| key.as_slice()),
            &bound(claim.claims_max),
            &claim.window.as_secs_f64(),
            &bound(claim.low),
            &bound(claim.devices_max),
            &i64::try_from(claim.bytes_max).unwrap_or(i64::MAX),
        ];
        let found = self.calls().query(sql, params).await?;
        if let Some(first) = found.first() {
            let retry_after = Duration::from_secs(count(first, "wait_seconds")?);
            if !retry_after.is_zero() {
                let user = get(first, "user_did")?;
                return Ok(ClaimOutcome::TooOften { user, retry_after });
            }
        }
        let claimed = |row: &Row| {
            Ok(ClaimedKeyPackage {
                user: get(row, "user_did")?,
                device: get(row, "device_id")?,
                bytes: get(row, "key_package")?,
                hash: bytes(row, "hash")?,
            })
        };
        let claimed: Result<_, StoreError> = found.iter().map(claimed).collect();
        claimed.map(ClaimOutcome::Claimed)
    }

    /// The packages of an account, or of one device of it, by suite, and when the oldest expires
    /// that nobody has claimed.
    pub async fn key_package_stats(
        &self,
        user: &Did,
        device: Option<&DeviceId>,
    ) -> Result<Vec<(SuiteStats, Option<CoarseTime>)>, StoreError> {
        let sql = "SELECT k.cipher_suite, \
                       count(*) FILTER (WHERE k.claimed_at IS NULL AND k.consumed_at IS NULL \
                           AND NOT k.last_resort AND k.expires_at > now()) AS available, \
                       count(*) FILTER (WHERE k.consumed_at IS NOT NULL) AS consumed, \
                       min(k.expires_at) FILTER (WHERE k.claimed_at IS NULL \
                           AND k.consumed_at IS NULL AND k.expires_at > now()) AS oldest \
                   FROM key_packages k \
                   WHERE k.user_did = $1 AND ($2::text IS NULL OR k.device_id = $2) \
                   GROUP BY k.cipher_suite ORDER BY k.cipher_suite";
        let read = |row: &Row| {
            let stats = SuiteStats {
                cipher_suite: get(row, "cipher_suite")?,
                available: count(row, "available")?,
                consumed: count(row, "consumed")?,
            };
            Ok((stats, get(row, "oldest")?))
        };
        self.calls().all(sql, &[user, &device], read).await
    }
}

/// Packages as the functions of `sql/` take them: suites, packages, hashes, references, whether
/// of last resort, expiries.
pub(super) fn columns(packages: &[NewKeyPackage]) -> [Box<dyn ToSql + Send + Sync + '_>; 6] {
    [
        Box::new(column(packages, |p| p.cipher_suite)),
        Box::new(column(packages, |p| &p.bytes)),
        Box::new(column(packages, |p| p.hash.as_slice())),
        Box::new(column(packages, |p| &p.reference)),
        Box::new(column(packages, |p| p.last_resort)),
        Box::new(column(packages, |p| p.expires_at)),
    ]
}

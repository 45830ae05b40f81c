//! What registering a device and publishing key packages have in common: the columns
//! of many packages, and what became of them.

use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{NewKeyPackage, StoreError, rows};

/// What became of a registration or a publication.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PublishOutcome {
    Done,
    /// Another device has this signature key.
    DuplicateKey,
    /// A package of another account or device is among them.
    Foreign,
    TooManyDevices,
    TooManyKeyPackages,
}

/// The columns of many packages, as the functions of `sql/` take them.
pub(super) struct PackageColumns<'a> {
    suites: Vec<i16>,
    packages: Vec<&'a [u8]>,
    hashes: Vec<&'a [u8]>,
    references: Vec<&'a [u8]>,
    last_resort: Vec<bool>,
    expires: Vec<DateTime<Utc>>,
}

impl<'a> PackageColumns<'a> {
    pub(super) fn of(packages: &'a [NewKeyPackage]) -> Self {
        Self {
            suites: packages
                .iter()
                .map(|p| rows::suite_number(p.cipher_suite))
                .collect(),
            packages: packages.iter().map(|p| p.bytes.as_slice()).collect(),
            hashes: packages.iter().map(|p| p.hash.as_slice()).collect(),
            references: packages.iter().map(|p| p.reference.as_slice()).collect(),
            last_resort: packages.iter().map(|p| p.last_resort).collect(),
            expires: packages.iter().map(|p| p.expires_at.to_utc()).collect(),
        }
    }

    /// In the order of those functions: suites, packages, hashes, references, whether
    /// of last resort, expiries.
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 6] {
        [
            &self.suites,
            &self.packages,
            &self.hashes,
            &self.references,
            &self.last_resort,
            &self.expires,
        ]
    }
}

pub(super) fn publish_outcome(row: &Row) -> Result<PublishOutcome, StoreError> {
    Ok(match rows::get(row, "outcome")? {
        "done" => PublishOutcome::Done,
        "duplicate_key" => PublishOutcome::DuplicateKey,
        "foreign" => PublishOutcome::Foreign,
        "too_many_devices" => PublishOutcome::TooManyDevices,
        "too_many_key_packages" => PublishOutcome::TooManyKeyPackages,
        _ => return Err(StoreError::Shape),
    })
}

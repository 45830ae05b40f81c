//! What registering a device and publishing key packages have in common: the columns
//! of many packages, and what became of them.

use tokio_postgres::types::ToSql;

use super::NewKeyPackage;
use super::rows::{column, outcomes};

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

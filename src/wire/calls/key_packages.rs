//! Pure. publishKeyPackage, publishKeyPackages, getKeyPackages,
//! getKeyPackageStats, syncKeyPackages.

use chrono::{DateTime, FixedOffset};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::{IdempotencyKey, TypeName};
use crate::types::{CipherSuite, DeviceId, Did};
use crate::wire::{Blob, List, Object, Sha256Hex, Text, TextBytesOut, Unkept};

input! {
    /// A key package with what its owner says about it.
    pub struct KeyPackageInput {
        #[serde(rename = "$type", default)]
        pub type_name: TypeName,
        pub key_package: KeyPackageBytes,
        pub cipher_suite: CipherSuite,
        /// Default: the package's own lifetime. Never later than that.
        pub expires: Option<Datetime>,
        /// Whose it is: the caller, if anybody is named.
        pub did: Option<Text<1, 600>>,
        /// The device's DID; as `did`, but some clients call it this.
        pub credential_did: Option<Text<1, 600>>,
        /// The registered device it belongs to; default: the one in its credential.
        pub device_id: Option<DeviceId>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    pub struct PublishKeyPackages {
        pub key_packages: List<Object<KeyPackageInput>, 1, 100>,
        pub device_id: Option<DeviceId>,
    }

    pub struct GetKeyPackages {
        pub dids: List<Did, 1, 100>,
        pub cipher_suite: Option<CipherSuite>,
    }

    pub struct GetKeyPackageStats {
        /// The caller, if anybody is named: stocks are the owner's business.
        pub did: Option<Did>,
        pub cipher_suite: Option<CipherSuite>,
        /// Default: all devices, and those that belong to none.
        pub device_id: Option<DeviceId>,
    }

    pub struct SyncKeyPackages {
        /// The packages whose private keys are still there.
        pub local_hashes: List<Sha256Hex, 0, 200>,
        /// Default: the packages that belong to no device.
        pub device_id: Option<DeviceId>,
    }
}

output! {
    /// `{}`: all that publishKeyPackage says, and a pong.
    pub struct Nothing {}

    pub struct Published {
        pub succeeded: u64,
        pub failed: u64,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub errors: Vec<PublishError>,
    }

    pub struct PublishError {
        pub index: u64,
        pub error: String,
    }

    pub struct KeyPackages {
        pub key_packages: Vec<KeyPackageRef>,
        /// Accounts of which no device has a package to give.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub missing: Vec<Did>,
    }

    pub struct KeyPackageRef {
        pub did: Did,
        /// Absent for an account without devices.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub device_id: Option<DeviceId>,
        pub key_package: TextBytesOut,
        pub cipher_suite: CipherSuite,
        pub key_package_hash: Sha256Hex,
    }

    pub struct KeyPackageStatsView {
        pub available: u64,
        pub threshold: u64,
        pub needs_replenish: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub oldest_expires_in: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub by_cipher_suite: Option<Vec<SuiteStats>>,
    }

    pub struct SuiteStats {
        pub cipher_suite: CipherSuite,
        pub available: u64,
        pub consumed: u64,
    }

    pub struct SyncedKeyPackagesView {
        /// Unclaimed packages that the relay keeps now.
        pub server_hashes: Vec<Sha256Hex>,
        pub orphaned_count: u64,
        pub deleted_count: u64,
        pub orphaned_hashes: Vec<Sha256Hex>,
        pub remaining_available: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub device_id: Option<DeviceId>,
    }
}

/// A key package in a request: at most 65,536 characters of base64.
pub type KeyPackageBytes = Blob<1, 49_152>;

/// An RFC 3339 time that a client sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Datetime(DateTime<FixedOffset>);

impl Datetime {
    pub fn unix_seconds(self) -> i64 {
        self.0.timestamp()
    }
}

impl<'de> Deserialize<'de> for Datetime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::<1, 64>::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(text.as_str())
            .map(Self)
            .map_err(|_| de::Error::custom("must be a time such as 2026-01-31T12:00:00.000Z"))
    }
}

impl KeyPackageInput {
    /// A key package of which nothing more is said.
    pub fn bare(key_package: KeyPackageBytes, cipher_suite: CipherSuite) -> Self {
        Self {
            type_name: TypeName::default(),
            key_package,
            cipher_suite,
            expires: None,
            did: None,
            credential_did: None,
            device_id: None,
            idempotency_key: None,
        }
    }
}

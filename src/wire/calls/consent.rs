//! Pure. optIn, optOut, getOptInStatus.

use crate::types::{CoarseTime, DeviceId, Did};
use crate::wire::{List, Unkept};

input! {
    /// `optIn`.
    pub struct OptInInput {
        /// Of old clients: consent is the account's.
        pub device_id: Option<Unkept<DeviceId>>,
    }

    pub struct GetOptInStatus {
        pub dids: List<Did, 1, 100>,
    }
}

output! {
    pub struct OptedIn {
        pub opted_in: bool,
        pub opted_in_at: CoarseTime,
    }

    pub struct OptInStatuses {
        pub statuses: Vec<OptInStatus>,
    }

    pub struct OptInStatus {
        pub did: Did,
        pub opted_in: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub opted_in_at: Option<CoarseTime>,
    }
}

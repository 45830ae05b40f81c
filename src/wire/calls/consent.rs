//! Pure. optIn, optOut, getOptInStatus.

use serde::{Deserialize, Serialize};

use crate::types::{CoarseTime, DeviceId, Did};
use crate::wire::List;

/// `optIn`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OptInInput {
    /// Of old clients: consent is the account's.
    pub device_id: Option<DeviceId>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OptedIn {
    pub opted_in: bool,
    pub opted_in_at: CoarseTime,
}

/// `optOut`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptOutInput {}

/// `getOptInStatus`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetOptInStatus {
    pub dids: List<Did, 1, 100>,
}

#[derive(Clone, Debug, Serialize)]
pub struct OptInStatuses {
    pub statuses: Vec<OptInStatus>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OptInStatus {
    pub did: Did,
    pub opted_in: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opted_in_at: Option<CoarseTime>,
}

//! Pure. getWelcome, confirmWelcome.

use serde::{Deserialize, Serialize};

use crate::types::{ConvoId, DeviceId};
use crate::wire::{Text, TextBytesOut};

/// `getWelcome`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetWelcome {
    pub convo_id: ConvoId,
    pub device_id: Option<DeviceId>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WelcomeView {
    pub convo_id: ConvoId,
    pub welcome: TextBytesOut,
}

/// `confirmWelcome`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfirmWelcome {
    pub convo_id: ConvoId,
    pub success: bool,
    pub device_id: Option<DeviceId>,
    /// What went wrong at the client. Bounded and dropped: it may name people.
    pub error_details: Option<Text<0, 1024>>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Confirmed {
    pub confirmed: bool,
}

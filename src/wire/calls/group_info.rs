//! Pure. getGroupInfo, updateGroupInfo.

use serde::{Deserialize, Serialize};

use super::Handshake;
use crate::types::{ConvoId, Epoch};
use crate::wire::TextBytesOut;

/// `getGroupInfo`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetGroupInfo {
    pub convo_id: ConvoId,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfoView {
    pub group_info: TextBytesOut,
    pub epoch: Epoch,
}

/// `updateGroupInfo`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateGroupInfo {
    pub convo_id: ConvoId,
    pub group_info: Handshake,
    pub epoch: Epoch,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Updated {
    /// `false` if a later one is kept already, or the epoch is not there yet.
    pub updated: bool,
}

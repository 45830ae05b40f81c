//! Pure. promoteAdmin, demoteAdmin.

use serde::{Deserialize, Serialize};

use crate::types::{CoarseTime, ConvoId, Did};

/// `promoteAdmin` and `demoteAdmin`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeRole {
    pub convo_id: ConvoId,
    pub target_did: Did,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Promoted {
    pub ok: bool,
    pub promoted_at: CoarseTime,
}

/// `{ok: true}`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Okay {
    pub ok: bool,
}

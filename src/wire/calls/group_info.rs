//! Pure. getGroupInfo, updateGroupInfo.

use serde_json::value::RawValue;

use super::{Handshake, IdempotencyKey};
use crate::types::{ConvoId, Epoch};
use crate::wire::{TextBytesOut, Unkept};

input! {
    pub struct GetGroupInfo {
        pub convo_id: ConvoId,
    }

    pub struct UpdateGroupInfo {
        pub convo_id: ConvoId,
        pub group_info: Handshake,
        pub epoch: Epoch,
        /// Leads to that epoch, and changes nobody's seat.
        pub commit: Option<Handshake>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }
}

output! {
    pub struct GroupInfoView {
        pub group_info: TextBytesOut,
        pub epoch: Epoch,
    }

    pub struct Updated {
        /// `false` if the conversation is in another epoch.
        pub updated: bool,
        /// Where there was a commit: the epoch that it led to.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub new_epoch: Option<Epoch>,
        /// The commit's signed receipt, as it is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub receipt: Option<Box<RawValue>>,
    }
}

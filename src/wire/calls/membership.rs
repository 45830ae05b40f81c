//! Pure. addMembers, removeMember, leaveConvo: changes of who is in.

use serde_json::value::RawValue;

use super::{Handshake, IdempotencyKey, KeyPackageHash};
use crate::types::{ConvoId, DeviceId, Did, Epoch};
use crate::wire::{List, Object, Text, Unkept};

input! {
    pub struct AddMembers {
        pub convo_id: ConvoId,
        pub did_list: List<Did, 1, 50>,
        pub commit: Option<Handshake>,
        pub welcome_message: Option<Handshake>,
        #[serde(default)]
        pub key_package_hashes: List<Object<KeyPackageHash>, 0, 1000>,
        pub group_info: Option<Handshake>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    pub struct RemoveMember {
        pub convo_id: ConvoId,
        pub target_did: Did,
        /// One device only; without it, all of the account's.
        pub device_id: Option<DeviceId>,
        pub commit: Option<Handshake>,
        pub group_info: Option<Handshake>,
        pub reason: Option<Unkept<Text<0, 500>>>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    pub struct LeaveConvo {
        pub convo_id: ConvoId,
        /// Default: the caller. Another account only for an admin.
        pub target_did: Option<Did>,
        pub commit: Option<Handshake>,
        pub group_info: Option<Handshake>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }
}

output! {
    /// The answer of addMembers and leaveConvo.
    pub struct Changed {
        pub success: bool,
        pub new_epoch: Epoch,
        /// The commit's signed receipt, as it is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub receipt: Option<Box<RawValue>>,
    }

    /// The answer of removeMember.
    pub struct Removed {
        pub ok: bool,
        /// The epoch the conversation is in now.
        pub epoch_hint: Epoch,
        pub new_epoch: Epoch,
        /// The commit's signed receipt, as it is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub receipt: Option<Box<RawValue>>,
    }
}

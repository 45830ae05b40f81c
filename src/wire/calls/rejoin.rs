//! Pure. processExternalCommit, requestRejoin: coming back.

use serde_json::value::RawValue;

use super::{Handshake, IdempotencyKey, KeyPackageBytes};
use crate::types::{CoarseTime, ConvoId, Epoch};
use crate::wire::{Text, Unkept};

input! {
    pub struct ProcessExternalCommit {
        pub convo_id: ConvoId,
        pub external_commit: Handshake,
        pub group_info: Option<Handshake>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    pub struct RequestRejoin {
        pub convo_id: ConvoId,
        pub key_package: KeyPackageBytes,
        /// Of old clients.
        pub reason: Option<Unkept<Text<0, 128>>>,
    }
}

output! {
    pub struct Rejoined {
        pub epoch: Epoch,
        pub rejoined_at: CoarseTime,
        /// The commit's signed receipt, as it is stored.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub receipt: Option<Box<RawValue>>,
    }

    pub struct RejoinRequested {
        pub request_id: String,
        pub pending: bool,
    }
}

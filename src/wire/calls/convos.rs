//! Pure. createConvo, getConvos, getEpoch.

use super::{Handshake, IdempotencyKey, TypeName};
use crate::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch};
use crate::wire::{BytesOut, Int, List, Object, Sha256Hex, Text, Unkept};

input! {
    pub struct CreateConvo {
        pub group_id: ConvoId,
        /// The caller's device on which the group was made.
        pub device_id: Option<DeviceId>,
        pub cipher_suite: CipherSuite,
        #[serde(default)]
        pub initial_members: List<Did, 0, 100>,
        pub welcome_message: Option<Handshake>,
        #[serde(default)]
        pub key_package_hashes: List<Object<KeyPackageHash>, 0, 1000>,
        pub metadata: Option<Object<MetadataInput>>,
        /// The epoch after the first members were added.
        #[serde(default)]
        pub current_epoch: Epoch,
        pub group_info: Option<Handshake>,
        pub idempotency_key: Option<Unkept<IdempotencyKey>>,
    }

    /// Which key package of whom a Welcome is encrypted to.
    pub struct KeyPackageHash {
        #[serde(rename = "$type", default)]
        pub type_name: TypeName,
        pub did: Did,
        pub hash: Unkept<Sha256Hex>,
    }

    pub struct MetadataInput {
        #[serde(rename = "$type", default)]
        pub type_name: TypeName,
        pub name: Option<Text<0, 128>>,
        pub description: Option<Text<0, 512>>,
    }

    pub struct GetConvos {
        pub limit: Option<Int<1, 100>>,
        pub cursor: Option<Text<1, 64>>,
    }

    pub struct GetEpoch {
        pub convo_id: ConvoId,
    }
}

output! {
    /// A conversation as its members see it.
    pub struct ConvoView {
        pub id: ConvoId,
        pub group_id: ConvoId,
        pub creator: Did,
        pub members: Vec<MemberView>,
        pub epoch: Epoch,
        pub cipher_suite: CipherSuite,
        pub created_at: CoarseTime,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub last_message_at: Option<CoarseTime>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub metadata: Option<MetadataView>,
    }

    pub struct MetadataView {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub name: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub description: Option<String>,
    }

    /// One device in a conversation.
    pub struct MemberView {
        /// The account, or `account#device`.
        pub did: String,
        pub user_did: Did,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub device_id: Option<DeviceId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub device_name: Option<String>,
        /// As the device registered it, with the proof that it is its own, unless it is of Ed448.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub signature_public_key: Option<BytesOut>,
        pub joined_at: CoarseTime,
        pub is_admin: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub promoted_at: Option<CoarseTime>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub promoted_by: Option<Did>,
    }

    pub struct Convos {
        pub conversations: Vec<ConvoView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cursor: Option<String>,
    }

    pub struct CurrentEpoch {
        pub convo_id: ConvoId,
        pub current_epoch: Epoch,
    }
}

/// The DID of a device: the account's, with the device as fragment.
pub fn device_did(user: &Did, device: Option<&DeviceId>) -> String {
    match device {
        Some(device) => format!("{}#{}", user.expose(), device.expose()),
        None => user.expose().to_owned(),
    }
}

//! Pure. registerDevice, listDevices, deleteDevice.

use super::KeyPackageInput;
use crate::types::{CoarseTime, ConvoId, DeviceId};
use crate::wire::{Blob, List, Object, Text};

input! {
    pub struct RegisterDevice {
        pub device_name: Text<1, 128>,
        /// Ed25519 has 32 bytes, Ed448 57, P-256 65 and P-521 133.
        pub signature_public_key: Blob<32, 133>,
        pub key_packages: List<Object<KeyPackageInput>, 1, 200>,
        /// Chosen by the client, so that its key packages can name the device.
        #[serde(rename = "deviceUUID")]
        pub device_uuid: Option<DeviceId>,
    }

    pub struct DeleteDevice {
        pub device_id: DeviceId,
    }
}

output! {
    pub struct Registered {
        pub device_id: DeviceId,
        pub mls_did: String,
        /// Always empty: a device joins by a commit of a member, not by the relay.
        pub auto_joined_convos: Vec<ConvoId>,
    }

    pub struct Devices {
        pub devices: Vec<DeviceView>,
    }

    pub struct DeviceView {
        pub device_id: DeviceId,
        pub device_name: String,
        pub credential_did: String,
        pub last_seen_at: CoarseTime,
        pub registered_at: CoarseTime,
        pub key_package_count: u64,
    }

    pub struct Deleted {
        pub deleted: bool,
        pub key_packages_deleted: u64,
        /// Conversations that the device was in; others must still commit its removal.
        pub conversations_left: u64,
    }
}

//! Devices and what the store is told of them, for tests in which several calls meet.

use mls_relay::store::{
    ChangeOutcome, GroupChange, Joining, NewConversation, NewDevice, NewKeyPackage, PublishOutcome,
    Said, Store, StoreError,
};
use mls_relay::types::{ConvoId, DeviceId, Did};

use crate::store_values::{change, conversation, did, key_package};

/// A device, of the first or second of its account.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) user: Did,
    pub(crate) device: DeviceId,
    /// What it signs with.
    pub(crate) key: u8,
}

pub(crate) fn owner(name: &str, nth: u8) -> Owner {
    Owner {
        user: did(name),
        device: DeviceId::parse(&format!("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e0{nth}")).unwrap(),
        key: name.as_bytes()[0].wrapping_mul(4) + nth,
    }
}

pub(crate) fn numbered(convo: u32) -> ConvoId {
    ConvoId::of_group(&convo.to_be_bytes()).unwrap()
}

/// The reference of the package of this number: in no order.
pub(crate) fn reference(number: u32) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9E37_79B9).to_be_bytes();
    scattered.repeat(8)
}

pub(crate) fn package(number: u32) -> NewKeyPackage {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    NewKeyPackage {
        reference: reference(number),
        ..key_package(hash)
    }
}

pub(crate) fn joining(users: &[&Owner], packages: &[u32]) -> Joining {
    Joining {
        users: users.iter().map(|owner| owner.user.clone()).collect(),
        references: packages.iter().map(|number| reference(*number)).collect(),
        welcome: vec![9],
    }
}

pub(crate) async fn register(
    store: &Store,
    owner: &Owner,
    packages: &[u32],
) -> Result<PublishOutcome, StoreError> {
    let new = NewDevice {
        user: owner.user.clone(),
        device: owner.device.clone(),
        name: "phone".to_owned(),
        signature_key: vec![owner.key; 32],
        packages: packages.iter().map(|number| package(*number)).collect(),
    };
    store.register_device(&new, 10, 100, 10).await
}

pub(crate) async fn publish(
    store: &Store,
    owner: &Owner,
    number: u32,
) -> Result<PublishOutcome, StoreError> {
    let device = Some(&owner.device);
    let packages = [package(number)];
    let user = &owner.user;
    store
        .publish_key_packages(user, device, &packages, 100, 32)
        .await
}

/// Founds the conversation of this number on the owner's device, or on one that is not told.
pub(crate) async fn found(
    store: &Store,
    owner: &Owner,
    is_named: bool,
    convo: u32,
    joining: Joining,
) -> Result<ChangeOutcome, StoreError> {
    let new = NewConversation {
        device: is_named.then(|| owner.device.clone()),
        joining,
        ..conversation(&numbered(convo), &owner.user)
    };
    store.create_conversation(&new).await
}

pub(crate) async fn add(
    store: &Store,
    owner: &Owner,
    convo: u32,
    joining: Joining,
) -> Result<ChangeOutcome, StoreError> {
    let change = GroupChange {
        joining,
        ..change(&numbered(convo), &owner.user)
    };
    store.change_group(&change).await
}

pub(crate) fn said(blocker: &Owner, blocked: &Owner, exists: bool) -> Said {
    Said {
        blocker: blocker.user.clone(),
        blocked: blocked.user.clone(),
        uri: None,
        exists,
    }
}

//! What the store is given in tests: as little as it takes.

use bytes::Bytes;
use mls_relay::store::{
    ChangeOutcome, GroupChange, Joining, NewCommit, NewConversation, NewKeyPackage, NewMessage,
    NewReceipt, SeatBounds, Store,
};
use mls_relay::types::{CipherSuite, CoarseTime, ConvoId, Did, Epoch, MessageId};

pub(crate) const SUITE: CipherSuite = CipherSuite::X25519Aes128Ed25519;

pub(crate) fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

pub(crate) fn fresh_id() -> MessageId {
    MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000))
}

/// A conversation of one, who names no device.
pub(crate) fn conversation(convo: &ConvoId, creator: &Did) -> NewConversation {
    NewConversation {
        convo: convo.clone(),
        creator: creator.clone(),
        device: None,
        cipher_suite: SUITE,
        epoch: Epoch::default(),
        name: None,
        description: None,
        joining: Joining::default(),
        group_info: None,
        bounds: SeatBounds::default(),
    }
}

/// Founds such a conversation.
pub(crate) async fn found(store: &Store, convo: &ConvoId, creator: &Did) {
    let new = conversation(convo, creator);
    let outcome = store.create_conversation(&new).await.unwrap();
    assert!(matches!(outcome, ChangeOutcome::Done { .. }));
}

/// A message in the first epoch.
pub(crate) fn message(convo: &ConvoId, sender: &Did) -> NewMessage {
    NewMessage {
        convo: convo.clone(),
        sender: sender.clone(),
        message_id: fresh_id(),
        epoch: Epoch::default(),
        ciphertext: Bytes::from(vec![7; 512]),
        nonce: None,
    }
}

/// A change that changes nothing yet, and that any member may make.
pub(crate) fn change(convo: &ConvoId, caller: &Did) -> GroupChange {
    GroupChange::of(convo.clone(), caller.clone(), SeatBounds::default())
}

/// A commit that changes nobody's membership.
pub(crate) fn commit(convo: &ConvoId, caller: &Did, made_in: Epoch, bytes: Vec<u8>) -> GroupChange {
    GroupChange {
        commit: Some(NewCommit {
            epoch: made_in,
            message_id: fresh_id(),
            receipt: NewReceipt {
                json: "{}".to_owned(),
                hash: [bytes[0]; 32],
                previous: made_in.get().checked_sub(1).map(|_| [bytes[0] - 1; 32]),
            },
            bytes,
        }),
        ..change(convo, caller)
    }
}

/// A key package that is known by this hash and by the same as its reference.
pub(crate) fn key_package(hash: [u8; 32]) -> NewKeyPackage {
    NewKeyPackage {
        cipher_suite: SUITE,
        bytes: hash.to_vec(),
        hash,
        reference: hash.to_vec(),
        last_resort: false,
        expires_at: CoarseTime::from_unix_seconds(4_000_000_000),
    }
}

//! Two phones in memory, and a third that comes and goes.

use super::*;

const ALICE: &str = "did:plc:alice";
const BOB: &str = "did:plc:bob";
const CAROL: &str = "did:plc:carol";

fn device(did: &str, id: &str) -> Arc<Device> {
    Arc::new(Device::new(did, id).unwrap())
}

/// Alice and Bob in one group at epoch 1.
fn pair() -> (Group, Group) {
    let (alice, bob) = (device(ALICE, "phone"), device(BOB, "phone"));
    let mut hers = alice.create_group().unwrap();
    let commit = hers.add(&[bob.key_package().unwrap()]).unwrap();
    hers.merge_commit().unwrap();
    let his = bob.join(&commit.welcome.unwrap()).unwrap();
    (hers, his)
}

fn text(received: &Received) -> &[u8] {
    match received {
        Received::Application { plaintext, .. } => plaintext,
        other => panic!("not an application message: {other:?}"),
    }
}

#[test]
fn two_devices_share_a_group_and_read_each_other() {
    let (mut alice, mut bob) = pair();
    assert_eq!(alice.id(), bob.id());
    assert_eq!(alice.authenticator(), bob.authenticator());
    let sent = alice
        .encrypt("01ARZ3NDEKTSV4RRFFQ69G5FAV", b"hello")
        .unwrap();
    assert_eq!(sent.len(), 512);
    assert_eq!(
        bob.receive(&sent).unwrap(),
        Received::Application {
            sender: format!("{ALICE}#phone"),
            message_id: "01ARZ3NDEKTSV4RRFFQ69G5FAV".to_owned(),
            plaintext: b"hello".to_vec(),
        }
    );
    assert_eq!(alice.receive(&sent).unwrap(), Received::Own);
    let answer = bob.encrypt("m2", b"hi").unwrap();
    assert_eq!(text(&alice.receive(&answer).unwrap()), b"hi");
}

#[test]
fn a_message_cannot_be_read_twice() {
    let (mut alice, mut bob) = pair();
    let sent = alice.encrypt("m", b"once").unwrap();
    bob.receive(&sent).unwrap();
    assert!(bob.receive(&sent).is_err());
}

#[test]
fn a_member_reads_from_its_join_to_its_removal_and_nothing_else() {
    let (mut alice, mut bob) = pair();
    let carol = device(CAROL, "phone");
    let before = alice.encrypt("m1", b"before").unwrap();
    bob.receive(&before).unwrap();

    let add = alice.add(&[carol.key_package().unwrap()]).unwrap();
    for group in [&mut alice, &mut bob] {
        assert_eq!(group.receive(&add.commit).unwrap(), Received::Epoch(2));
    }
    let mut hers = carol.join(&add.welcome.unwrap()).unwrap();
    assert_eq!(hers.members().len(), 3);
    assert!(hers.receive(&before).is_err());
    let during = bob.encrypt("m2", b"during").unwrap();
    assert_eq!(text(&hers.receive(&during).unwrap()), b"during");
    alice.receive(&during).unwrap();

    let removal = alice.remove(CAROL).unwrap();
    assert!(removal.welcome.is_none());
    for group in [&mut alice, &mut bob] {
        assert_eq!(group.receive(&removal.commit).unwrap(), Received::Epoch(3));
    }
    let after = bob.encrypt("m3", b"after").unwrap();
    assert!(hers.receive(&after).is_err());
    assert_eq!(hers.receive(&removal.commit).unwrap(), Received::Removed);
    assert!(hers.receive(&after).is_err());
    assert_eq!(text(&alice.receive(&after).unwrap()), b"after");
}

#[test]
fn the_loser_of_an_epoch_takes_the_winners_commit_and_can_try_again() {
    let (mut alice, mut bob) = pair();
    let carol = device(CAROL, "phone");
    let lost = bob.add(&[carol.key_package().unwrap()]).unwrap();
    let won = alice.add(&[carol.key_package().unwrap()]).unwrap();
    bob.abandon_commit().unwrap();
    for group in [&mut alice, &mut bob] {
        assert_eq!(group.receive(&won.commit).unwrap(), Received::Epoch(2));
    }
    assert!(alice.receive(&lost.commit).is_err());
    assert_eq!(alice.authenticator(), bob.authenticator());
    assert!(bob.remove(CAROL).is_ok());
}

#[test]
fn all_devices_of_an_account_leave_together() {
    let (mut alice, _) = pair();
    let tablet = device(BOB, "tablet");
    alice.add(&[tablet.key_package().unwrap()]).unwrap();
    alice.merge_commit().unwrap();
    assert_eq!(alice.members().len(), 3);
    alice.remove(BOB).unwrap();
    alice.merge_commit().unwrap();
    assert_eq!(alice.members(), [format!("{ALICE}#phone")]);
    assert!(matches!(alice.remove(BOB), Err(MlsError::NoSuchMember)));
}

#[test]
fn something_else_than_zeros_after_the_message_is_refused() {
    let (mut alice, mut bob) = pair();
    let mut sent = alice.encrypt("m", b"hello").unwrap();
    *sent.last_mut().unwrap() = 1;
    assert!(matches!(bob.receive(&sent), Err(MlsError::Malformed)));
}

#[test]
fn a_last_resort_key_package_joins_more_than_once() {
    let (alice, bob) = (device(ALICE, "phone"), device(BOB, "phone"));
    let key_package = bob.last_resort_key_package().unwrap();
    for _ in 0..2 {
        let mut group = alice.create_group().unwrap();
        let commit = group.add(std::slice::from_ref(&key_package)).unwrap();
        group.merge_commit().unwrap();
        bob.join(&commit.welcome.unwrap()).unwrap();
    }
}

//! Commits that change nobody's seat: leaves whose seats are gone already, and fresh keys,
//! with real MLS state on every side.

use mls_relay_loadtest::mls::{Commit, Group, Received};
use serde_json::{Value, json};

use crate::phone::{Phone, people, together};
use crate::world::{assert_says, decoded, text, with};

/// What updateGroupInfo takes with a commit that this member staged.
fn committing(group: &Group, commit: &Commit) -> Value {
    json!({
        "convoId": group.id(),
        "commit": text(&commit.commit),
        "groupInfo": text(commit.group_info.as_ref().unwrap()),
        "epoch": group.epoch() + 1,
    })
}

/// Reads the conversation's one commit, as a member that did not make it.
async fn read_commit(phone: &Phone, group: &mut Group) -> Received {
    let id = group.id();
    let page = phone.get("getMessages", &[("convoId", &id)]).await;
    let messages = page["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 1);
    group.receive(&decoded(&messages[0]["ciphertext"])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_is_taken_out_of_the_tree_by_somebody_who_stays() {
    let (world, [alice, bob, carol], mut group) = together().await;
    let mut carols = carol.join(&group).await;
    let mut heard = world.live(&carol).await;
    let id = group.id();
    bob.post("leaveConvo", &json!({"convoId": id})).await;
    heard.next_named("#membershipChangeEvent").await;

    let removal = group.remove(bob.did()).unwrap();
    let input = with(
        &committing(&group, &removal),
        json!({"idempotencyKey": "out"}),
    );
    let answer = alice.post("updateGroupInfo", &input).await;
    assert_says(&answer, json!({"updated": true, "newEpoch": 2}));
    assert_eq!(answer["receipt"]["epoch"], 2);
    // A retry that did not hear the answer hears it now, with its key or without.
    assert_eq!(alice.post("updateGroupInfo", &input).await, answer);
    let again = committing(&group, &removal);
    assert_eq!(alice.post("updateGroupInfo", &again).await, answer);
    group.merge_commit().unwrap();

    // Carol hears of the epoch and reads the commit as any other.
    let told = heard.next_named("#epochAdvanced").await;
    assert_eq!(told.body()["receipt"], answer["receipt"]);
    let received = read_commit(&carol, &mut carols).await;
    assert_eq!(received, Received::Epoch(2));
    assert_eq!(carols.members().len(), 2);
    assert_eq!(carols.authenticator(), group.authenticator());
    let kept = carol.get("getGroupInfo", &[("convoId", &id)]).await;
    assert_says(&kept, json!({"groupInfo": input["groupInfo"], "epoch": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_tablet_is_taken_out_of_the_tree_and_the_phone_stays() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let mut group = alice.found(&[bob.did()]).await;
    let (mut bobs, mut tablets) = (bob.join(&group).await, tablet.join(&group).await);
    assert_eq!(group.members().len(), 3);
    bob.delete(&tablet).await;

    // Its owner does it: no admin is needed for what nobody has a seat for.
    let leaf = format!("{}#{}", bob.did(), tablet.device.device_id());
    let removal = bobs.remove(&leaf).unwrap();
    let input = committing(&bobs, &removal);
    let answer = bob.post("updateGroupInfo", &input).await;
    assert_eq!(answer["newEpoch"], 2);
    bobs.merge_commit().unwrap();
    let received = read_commit(&alice, &mut group).await;
    assert_eq!(received, Received::Epoch(2));
    assert_eq!(group.members().len(), 2);
    assert_eq!(group.authenticator(), bobs.authenticator());
    assert_eq!(tablets.receive(&removal.commit).unwrap(), Received::Removed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gives_its_own_leaf_fresh_keys() {
    let (_world, [alice, bob], mut group) = together().await;
    let mut bobs = bob.join(&group).await;
    let update = bobs.update().unwrap();
    let input = committing(&bobs, &update);
    let answer = bob.post("updateGroupInfo", &input).await;
    assert_eq!(answer["newEpoch"], 2);
    bobs.merge_commit().unwrap();
    let received = read_commit(&alice, &mut group).await;
    assert_eq!(received, Received::Epoch(2));
    assert_eq!(group.authenticator(), bobs.authenticator());
    let message = alice.send(&mut group, b"fresh").await;
    bobs.receive(&decoded(&message["ciphertext"])).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_member_commits_and_only_in_the_current_epoch() {
    let (_world, [alice, bob], mut group) = together().await;
    let mut bobs = bob.join(&group).await;
    let (hers, his) = (group.update().unwrap(), bobs.update().unwrap());
    let (first, late) = (committing(&group, &hers), committing(&bobs, &his));

    let message = decoded(&alice.message(&mut alice.found(&[]).await, b"hi")["ciphertext"]);
    for (field, change) in [
        ("epoch:", json!({"epoch": 1})),
        ("commit:", json!({"commit": text(&message)})),
        ("commit:", json!({"commit": "AAAA"})),
    ] {
        let bad = with(&first, change);
        let refused = alice.post_refused("updateGroupInfo", &bad).await;
        assert_eq!(refused.name, "InvalidRequest");
        assert!(refused.message.starts_with(field), "{}", refused.message);
    }
    let past = text(&group.group_info().unwrap());
    let bad = with(&first, json!({"groupInfo": past}));
    let refused = alice.post_refused("updateGroupInfo", &bad).await;
    assert_eq!(refused.name, "InvalidGroupInfo");

    alice.post("updateGroupInfo", &first).await;
    let refused = bob.post_refused("updateGroupInfo", &late).await;
    assert_eq!(refused.told(), (409, "EpochMismatch"));
    assert_eq!(refused.body["currentEpoch"], 2, "{}", refused.body);
    bob.leave(&group).await;
    let refused = bob.post_refused("updateGroupInfo", &late).await;
    assert_eq!(refused.name, "ConvoNotFound");
    // What was refused has changed nothing.
    let id = group.id();
    let standing = alice.get("getEpoch", &[("convoId", &id)]).await;
    assert_eq!(standing["currentEpoch"], 2);
    let kept = alice.get("getGroupInfo", &[("convoId", &id)]).await;
    assert_eq!(kept["groupInfo"], first["groupInfo"]);
}

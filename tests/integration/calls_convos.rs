//! Conversations: founding, joining, going, and whom each lets in.

use std::sync::Arc;

use mls_relay_loadtest::mls::{CIPHER_SUITE_NAME, Group};
use serde_json::{Value, json};

use crate::phone::{Phone, people, together};
use crate::world::{assert_says, decoded, text, with};

async fn epoch(phone: &Phone, group: &Group) -> Value {
    let id = group.id();
    let answer = phone.get("getEpoch", &[("convoId", &id)]).await;
    answer["currentEpoch"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_is_founded_seen_by_its_members_and_by_nobody_else() {
    let (_world, [alice, bob, mallory]) = people().await;
    let group = alice.found(&[bob.did()]).await;
    for phone in [&alice, &bob] {
        let listed = phone.get("getConvos", &[]).await;
        let view = &listed["conversations"][0];
        assert_eq!(view["groupId"], group.id());
        assert_eq!(view["creator"], alice.did());
        assert_eq!(view["epoch"], 1);
        let members = view["members"].as_array().unwrap();
        let admin = |did: &str| {
            let seat = members.iter().find(|m| m["userDid"] == did).unwrap();
            seat["isAdmin"].as_bool().unwrap()
        };
        assert!(admin(alice.did()) && !admin(bob.did()));
    }
    let joined = bob.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());

    let listed = mallory.get("getConvos", &[]).await;
    assert_eq!(listed["conversations"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_while_it_reads_its_conversations_is_not_told_who_stays() {
    let (world, [alice, bob]) = people().await;
    alice.found(&[bob.did()]).await;
    let holder = world.database.client().await;
    let hold = "BEGIN; LOCK TABLE devices";
    holder.batch_execute(hold).await.unwrap();
    let then = async {
        // The conversation is read, its members are not.
        world.database.waiting(1).await;
        let removed = "UPDATE members SET left_seq = 99 WHERE user_did = '";
        let removed = format!("{removed}{}'; COMMIT", bob.did());
        holder.batch_execute(&removed).await.unwrap();
    };
    let (listed, ()) = tokio::join!(bob.get("getConvos", &[]), then);
    assert_eq!(listed, json!({"conversations": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn founding_twice_gives_the_same_conversation_and_never_another() {
    let (_world, [alice]) = people().await;
    let input = json!({
        "groupId": "abcd",
        "cipherSuite": CIPHER_SUITE_NAME,
        "metadata": {"name": "Tea", "description": "At four"},
    });
    let first = alice.post("createConvo", &input).await;
    assert_eq!(
        first["metadata"],
        json!({"name": "Tea", "description": "At four"})
    );
    assert_eq!(alice.post("createConvo", &input).await, first);
    let other = with(&input, json!({"metadata": {"name": "Coffee"}}));
    let refused = alice.post_refused("createConvo", &other).await;
    assert_eq!(refused.name, "Conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_may_list_itself_with_or_without_a_further_device() {
    let (_world, [alice, bob]) = people().await;
    let alone = json!({
        "groupId": "abcd",
        "cipherSuite": CIPHER_SUITE_NAME,
        "initialMembers": [alice.did()],
    });
    let view = alice.post("createConvo", &alone).await;
    assert_eq!(view["members"].as_array().unwrap().len(), 1);

    // Listed, though the Welcome is for others only.
    let mut group = alice.device.create_group().unwrap();
    let commit = group.add(&alice.claim(&[bob.did()]).await).unwrap();
    group.merge_commit().unwrap();
    let input = json!({
        "groupId": group.id(),
        "cipherSuite": CIPHER_SUITE_NAME,
        "initialMembers": [alice.did(), bob.did()],
        "welcomeMessage": text(&commit.welcome.unwrap()),
        "currentEpoch": 1,
    });
    let view = alice.post("createConvo", &input).await;
    assert_eq!(view["members"].as_array().unwrap().len(), 2);
    let joined = bob.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());

    // With a tablet of its own in the Welcome, the tablet joins.
    let tablet = Phone::of(&alice).await;
    let mut group = alice.device.create_group().unwrap();
    let mut packages = Vec::new();
    while packages.is_empty() {
        let claimed = alice.claim(&[alice.did()]).await;
        packages.extend(claimed.into_iter().filter(|package| tablet.made(package)));
    }
    let commit = group.add(&packages).unwrap();
    group.merge_commit().unwrap();
    let input = with(
        &input,
        json!({
            "groupId": group.id(),
            "initialMembers": [alice.did()],
            "welcomeMessage": text(&commit.welcome.unwrap()),
        }),
    );
    alice.post("createConvo", &input).await;
    let joined = tablet.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_must_be_for_exactly_those_who_are_added() {
    let (_world, [alice, bob, carol]) = people().await;
    let mut group = alice.device.create_group().unwrap();
    let unpublished = Phone::unregistered(&bob).device.key_package().unwrap();
    let stranger = group.add(&[unpublished]).unwrap();
    group.abandon_commit().unwrap();
    let commit = group.add(&alice.claim(&[bob.did()]).await).unwrap();
    let good = json!({
        "groupId": group.id(),
        "cipherSuite": CIPHER_SUITE_NAME,
        "initialMembers": [bob.did()],
        "welcomeMessage": text(&commit.welcome.clone().unwrap()),
        "currentEpoch": 1,
    });
    for (what, change) in [
        ("nobody added", json!({"initialMembers": []})),
        ("another added", json!({"initialMembers": [carol.did()]})),
        (
            "one more added",
            json!({"initialMembers": [bob.did(), carol.did()]}),
        ),
        ("no Welcome", json!({"welcomeMessage": null})),
        ("a commit", json!({"welcomeMessage": text(&commit.commit)})),
        ("no MLS", json!({"welcomeMessage": "AAAA"})),
        (
            "another suite",
            json!({"cipherSuite": "MLS_128_DHKEMP256_AES128GCM_SHA256_P256"}),
        ),
    ] {
        let bad = with(&good, change);
        let refused = alice.post_refused("createConvo", &bad).await;
        assert_eq!(refused.name, "InvalidRequest", "{what}");
        let message = &refused.message;
        assert!(message.starts_with("welcomeMessage"), "{what}: {message}");
    }
    let unheld = text(&stranger.welcome.unwrap());
    let bad = with(&good, json!({"welcomeMessage": unheld}));
    let refused = alice.post_refused("createConvo", &bad).await;
    assert_eq!(refused.name, "KeyPackageNotFound");
    // None of the refusals founded anything.
    alice.post("createConvo", &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_adds_a_member_and_all_end_in_the_same_epoch() {
    let (_world, [alice, bob, carol]) = people().await;
    let mut group = alice.found(&[bob.did()]).await;
    let mut bobs = bob.join(&group).await;
    let input = alice.adding(&mut group, &carol).await;
    let answer = alice.post("addMembers", &input).await;
    assert_says(&answer, json!({"success": true, "newEpoch": 2}));
    // The relay signs for the commit: the first of this conversation.
    let receipt = &answer["receipt"];
    assert_says(receipt, json!({"convoId": group.id(), "epoch": 2}));
    assert_eq!(receipt.get("previousReceiptHash"), None);
    // A retry that did not hear the answer hears it now.
    assert_eq!(alice.post("addMembers", &input).await, answer);
    assert_eq!(epoch(&carol, &group).await, 2);

    let id = group.id();
    let parameters = [("convoId", id.as_str()), ("fromEpoch", "2")];
    let commits = bob.get("getCommits", &parameters).await;
    bobs.receive(&decoded(&commits["commits"][0]["commitData"]))
        .unwrap();
    group.merge_commit().unwrap();
    let carols = carol.join(&group).await;
    assert_eq!(bobs.authenticator(), group.authenticator());
    assert_eq!(carols.authenticator(), group.authenticator());

    // Who came later is not shown what was before.
    let commits = carol
        .get("getCommits", &[("convoId", &id), ("fromEpoch", "0")])
        .await;
    assert_eq!(commits["commits"], json!([]));
    let backwards = [
        ("convoId", id.as_str()),
        ("fromEpoch", "2"),
        ("toEpoch", "1"),
    ];
    let refused = bob.get_refused("getCommits", &backwards).await;
    assert_eq!(refused.name, "InvalidEpochRange");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_commits_in_one_epoch_one_wins_and_the_other_hears_the_epoch() {
    let (_world, [alice, bob, carol, dave]) = people().await;
    let group = alice.found(&[bob.did()]).await;
    let bobs = bob.join(&group).await;
    let add =
        async |phone: &Phone, mut group: Group, who: &Phone| phone.adding(&mut group, who).await;
    let id = group.id();
    let first = add(&alice, group, &carol).await;
    let second = add(&bob, bobs, &dave).await;
    alice.post("addMembers", &first).await;
    let refused = bob.post_refused("addMembers", &second).await;
    assert_eq!(refused.told(), (409, "EpochMismatch"));
    assert!(refused.message.contains('2'), "{}", refused.message);
    // Dave is not in.
    let refused = dave.get_refused("getEpoch", &[("convoId", &id)]).await;
    assert_eq!(refused.name, "ConvoNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_commit_of_this_group_is_refused_before_anything_is_written() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let mut other = alice.found(&[]).await;
    let packages = alice.claim(&[bob.did()]).await;
    let foreign = other.add(&packages).unwrap();
    let welcome = text(&foreign.welcome.clone().unwrap());
    let message = decoded(&alice.message(&mut group, b"hi")["ciphertext"]);
    for (what, commit) in [
        ("another group's", foreign.commit.clone()),
        ("an application message", message),
        ("a Welcome", foreign.welcome.unwrap()),
        (
            "half a commit",
            foreign.commit[..foreign.commit.len() / 2].to_vec(),
        ),
    ] {
        let input = json!({
            "convoId": group.id(),
            "didList": [bob.did()],
            "commit": text(&commit),
            "welcomeMessage": welcome,
        });
        let refused = alice.post_refused("addMembers", &input).await;
        assert_eq!(refused.name, "InvalidRequest", "{what}");
        let message = &refused.message;
        assert!(message.starts_with("commit:"), "{what}: {message}");
    }
    assert_eq!(epoch(&alice, &group).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_cannot_be_added_again_but_its_further_devices_can() {
    let (_world, [alice, bob], mut group) = together().await;
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let packages = alice.claim(&[bob.did()]).await;
    let mut fresh = Arc::clone(&alice.device).create_group().unwrap();
    let welcome = fresh.add(&packages).unwrap().welcome.unwrap();
    let input = json!({
        "convoId": group.id(),
        "didList": [bob.did()],
        "welcomeMessage": text(&welcome),
    });
    let refused = alice.post_refused("addMembers", &input).await;
    assert_eq!(refused.name, "AlreadyMember");
    assert!(refused.message.starts_with("didList[0]: "));

    // A further device of a member is no repetition.
    let tablet = Phone::of(&bob).await;
    alice.add(&mut group, &bob).await;
    let joined = tablet.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_removes_and_the_removed_one_is_out_at_once() {
    let (world, [alice, bob], mut group) = together().await;
    let id = group.id();
    let by_bob = json!({"convoId": id, "targetDid": alice.did()});
    let refused = bob.post_refused("removeMember", &by_bob).await;
    assert_eq!(refused.told(), (403, "NotAdmin"));
    let oneself = json!({"convoId": id, "targetDid": alice.did()});
    let refused = alice.post_refused("removeMember", &oneself).await;
    assert_eq!(refused.name, "CannotRemoveSelf");
    let stranger = world.account();
    let absent = json!({"convoId": id, "targetDid": stranger.did()});
    let refused = alice.post_refused("removeMember", &absent).await;
    assert_eq!(refused.name, "NotMember");

    let commit = group.remove(bob.did()).unwrap();
    let input = json!({
        "convoId": id,
        "targetDid": bob.did(),
        "commit": text(&commit.commit),
        "reason": "gone",
    });
    let answer = alice.post("removeMember", &input).await;
    assert_says(&answer, json!({"ok": true, "epochHint": 2}));
    assert_eq!(
        (&answer["newEpoch"], &answer["receipt"]["epoch"]),
        (&json!(2), &json!(2))
    );
    let refused = bob.get_refused("getMessages", &[("convoId", &id)]).await;
    assert_eq!(refused.name, "ConvoNotFound");
    // Who was removed can be added again.
    group.merge_commit().unwrap();
    bob.post("publishKeyPackage", &bob.key_package()).await;
    alice.add(&mut group, &bob).await;
    assert_eq!(epoch(&bob, &group).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_leaves_but_the_last_admin_may_not_orphan_the_others() {
    let (_world, [alice, bob], group) = together().await;
    let input = json!({"convoId": group.id()});
    let refused = alice.post_refused("leaveConvo", &input).await;
    assert_eq!(refused.name, "LastAdmin");
    let expel = json!({"convoId": group.id(), "targetDid": alice.did()});
    let refused = bob.post_refused("leaveConvo", &expel).await;
    assert_eq!(refused.name, "NotAdmin");

    // Without a commit the epoch does not move, and the answer says so.
    let answer = bob.post("leaveConvo", &input).await;
    assert_eq!(answer, json!({"success": true, "newEpoch": 1}));
    let refused = bob.post_refused("leaveConvo", &input).await;
    assert_eq!(refused.name, "ConvoNotFound");
    // Alone, even the last admin may go.
    alice.post("leaveConvo", &input).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_waits_for_each_device_until_it_is_confirmed() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    let id = group.id();
    let ask = [
        ("convoId", id.as_str()),
        ("deviceId", bob.device.device_id()),
    ];
    let first = bob.get("getWelcome", &ask).await;
    // A client that crashed asks again; one that failed says so and asks again.
    let failed = json!({"convoId": id, "success": false, "errorDetails": "no such key"});
    bob.post("confirmWelcome", &failed).await;
    assert_eq!(bob.get("getWelcome", &ask).await, first);
    bob.join(&group).await;
    let refused = bob.get_refused("getWelcome", &ask).await;
    assert_eq!(refused.name, "WelcomeNotFound");
    // The tablet's still waits, with and without its name.
    bob.get("getWelcome", &[("convoId", &id)]).await;
    let joined = tablet.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());
}

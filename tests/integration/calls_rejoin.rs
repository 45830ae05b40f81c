//! Coming back: by an external commit, or through somebody who adds the device anew,
//! with real MLS state on every side.

use std::sync::Arc;

use mls_relay_loadtest::mls::{Device, Group, Received};
use serde_json::{Value, json};

use crate::phone::{Phone, adding, people, phones, together};
use crate::world::{World, bytes, decoded, text, with};

/// What processExternalCommit takes.
fn coming_back(group: &Group, commit: &[u8]) -> Value {
    json!({"convoId": group.id(), "externalCommit": text(commit)})
}

/// The same phone after it was dropped into the sea: the same keys, no state.
fn reinstalled(phone: &Phone) -> Phone {
    Phone {
        client: phone.client.clone(),
        device: Arc::new(phone.device.without_state().unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lost_its_state_comes_back_by_itself() {
    let (world, [alice, bob], mut group) = together().await;
    bob.join(&group).await;
    let mut alices = world.live(&alice).await;

    let info = alice.leave_group_info(&group).await;
    let bob = reinstalled(&bob);
    let (mut bobs, commit) = bob.device.join_by_external_commit(&info).unwrap();
    let next_info = bobs.group_info().unwrap();
    let input = with(
        &coming_back(&group, &commit),
        json!({"groupInfo": text(&next_info), "idempotencyKey": "back"}),
    );
    let answer = bob.post("processExternalCommit", &input).await;
    assert_eq!(
        (&answer["epoch"], &answer["receipt"]["epoch"]),
        (&json!(2), &json!(2))
    );
    // A retry that did not hear the answer hears it now, with its key or without.
    assert_eq!(bob.post("processExternalCommit", &input).await, answer);
    let again = coming_back(&group, &commit);
    let again = bob.post("processExternalCommit", &again).await;
    assert_eq!(again["receipt"], answer["receipt"]);

    // Alice hears of the epoch, reads the commit as any other, and both are one again.
    let advanced = alices.next_named("#epochAdvanced").await;
    assert_eq!(advanced.body()["receipt"], answer["receipt"]);
    let id = group.id();
    let page = alice.get("getMessages", &[("convoId", &id)]).await;
    assert_eq!(page["messages"][0]["messageType"], "commit");
    let commit = decoded(&page["messages"][0]["ciphertext"]);
    assert_eq!(group.receive(&commit).unwrap(), Received::Epoch(2));
    assert_eq!(group.authenticator(), bobs.authenticator());
    assert_eq!(group.members().len(), 2, "the old leaf is gone");
    let message = bob.send(&mut bobs, b"I am back").await;
    let received = group.receive(&decoded(&message["ciphertext"])).unwrap();
    assert!(
        matches!(received, Received::Application { plaintext, .. } if plaintext == b"I am back")
    );

    // It has the seat that it had, and the GroupInfo is there for the next one.
    let members = bob.seats().await;
    assert_eq!(members.len(), 2);
    let kept = alice.get("getGroupInfo", &[("convoId", &id)]).await;
    assert_eq!(kept["epoch"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_comes_back_either_way_and_has_one_seat() {
    let (_world, [alice, bob]) = people().await;
    let seats = async |group: &Group| {
        let listed = bob.get("getConvos", &[]).await;
        let views = listed["conversations"].as_array().unwrap();
        let view = views.iter().find(|view| view["id"] == group.id()).unwrap();
        let members = view["members"].as_array().unwrap().clone();
        members
            .into_iter()
            .filter(|seat| seat["userDid"] == alice.did())
            .map(|seat| (seat["deviceId"].clone(), seat["isAdmin"].clone()))
            .collect::<Vec<_>>()
    };
    let device = json!(alice.device.device_id());

    let group = alice.found(&[bob.did()]).await;
    bob.join(&group).await;
    let info = alice.leave_group_info(&group).await;
    let back = reinstalled(&alice);
    let (_, commit) = back.device.join_by_external_commit(&info).unwrap();
    let input = coming_back(&group, &commit);
    alice.post("processExternalCommit", &input).await;
    assert_eq!(seats(&group).await, [(device.clone(), json!(true))]);

    bob.post("publishKeyPackage", &bob.key_package()).await;
    let group = alice.found(&[bob.did()]).await;
    let mut bobs = bob.join(&group).await;
    let package = back.device.key_package().unwrap();
    let request = json!({"convoId": group.id(), "keyPackage": text(&package)});
    alice.post("requestRejoin", &request).await;
    let identity = format!("{}#{}", alice.did(), alice.device.device_id());
    let claimed = bob.claim(&[alice.did()]).await;
    let commit = bobs.replace(&identity, &claimed[0]).unwrap();
    let input = adding(&group, &[alice.did()], &commit);
    bob.post("addMembers", &input).await;
    bobs.merge_commit().unwrap();
    let joined = back.join(&group).await;
    assert_eq!(joined.authenticator(), bobs.authenticator());
    assert_eq!(seats(&group).await, [(device, json!(true))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_of_a_member_takes_a_seat_of_its_own() {
    let (world, [alice, bob], mut group) = together().await;
    let mut bobs = bob.join(&group).await;
    let info = alice.leave_group_info(&group).await;
    let mut alices = world.live(&alice).await;
    let tablet = Phone::of(&bob).await;
    let told = alices.next_named("#newDeviceEvent").await;
    assert_eq!(told.body()["deviceId"], tablet.device.device_id());

    let (tablets, commit) = tablet.device.join_by_external_commit(&info).unwrap();
    let input = coming_back(&group, &commit);
    tablet.post("processExternalCommit", &input).await;
    alices.next_named("#conversationUpdated").await;
    group.receive(&commit).unwrap();
    bobs.receive(&commit).unwrap();
    assert_eq!(tablets.authenticator(), group.authenticator());
    assert_eq!(bobs.authenticator(), group.authenticator());
    let members = alice.seats().await;
    let devices: Vec<_> = members
        .iter()
        .filter(|seat| seat["userDid"] == bob.did())
        .map(|seat| &seat["deviceId"])
        .collect();
    assert!(devices.contains(&&json!(tablet.device.device_id())));
    assert_eq!(devices.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_takes_no_more_seats_than_it_may_have_devices() {
    let world = World::with(|settings| settings.xrpc.seats.devices_max = 2).await;
    let [alice, bob] = phones(&world).await;
    let mut group = alice.found(&[bob.did()]).await;
    let mut info = alice.leave_group_info(&group).await;
    let mut tablets = Vec::new();
    for _ in 0..2 {
        let tablet = Phone::unregistered(&bob);
        let (joined, commit) = tablet.device.join_by_external_commit(&info).unwrap();
        info = joined.group_info().unwrap();
        let input = with(
            &coming_back(&group, &commit),
            json!({"groupInfo": text(&info)}),
        );
        tablets.push((tablet, commit, input));
    }
    let (_, first, input) = &tablets[0];
    bob.post("processExternalCommit", input).await;
    group.receive(first).unwrap();
    let (third, _, input) = &tablets[1];
    let refused = bob.post_refused("processExternalCommit", input).await;
    assert_eq!(refused.name, "TooManyDevices");
    // Nor does another member give it one.
    let package = third.key_package();
    bob.post("publishKeyPackage", &package).await;
    let commit = group.add(&[decoded(&package["keyPackage"])]).unwrap();
    let input = adding(&group, &[bob.did()], &commit);
    let refused = alice.post_refused("addMembers", &input).await;
    assert_eq!(refused.name, "TooManyDevices");
    assert!(refused.message.starts_with("didList[0]: "));
    // Those that it has come back as ever, and one that goes makes room, registered or not.
    let gone = json!({"deviceId": tablets[0].0.device.device_id()});
    let gone = bob.post("deleteDevice", &gone).await;
    assert_eq!(gone["conversationsLeft"], 1);
    alice.post("addMembers", &input).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_members_come_back_by_themselves_and_only_as_themselves() {
    let (_world, [alice, bob, mallory]) = people().await;
    let mut group = alice.found(&[bob.did()]).await;
    let info = group.group_info().unwrap();

    // Somebody who got hold of a GroupInfo is no member for that.
    let (_, commit) = mallory.device.join_by_external_commit(&info).unwrap();
    let input = coming_back(&group, &commit);
    let refused = mallory.post_refused("processExternalCommit", &input).await;
    assert_eq!(refused.told(), (404, "ConvoNotFound"));
    let other = with(&input, json!({"convoId": "abcdef"}));
    let refused = mallory.post_refused("processExternalCommit", &other).await;
    assert_eq!(refused.name, "ConvoNotFound");

    // A member cannot bring a leaf of another account in, nor pass off anything else.
    let nobodys = Device::new(bob.did(), "not-a-uuid").unwrap();
    let (_, nobodys) = Arc::new(nobodys).join_by_external_commit(&info).unwrap();
    let ordinary = group.remove(bob.did()).unwrap().commit;
    group.abandon_commit().unwrap();
    let message = decoded(&alice.message(&mut group, b"hi")["ciphertext"]);
    let elsewhere = alice.found(&[]).await.group_info().unwrap();
    let (_, elsewhere) = bob.device.join_by_external_commit(&elsewhere).unwrap();
    for (what, bad) in [
        ("another account's", commit),
        ("a device that is none", nobodys),
        ("a member's commit", ordinary),
        ("a message", message),
        ("another group's", elsewhere),
        ("noise", vec![1, 2, 3]),
    ] {
        let input = coming_back(&group, &bad);
        let refused = bob.post_refused("processExternalCommit", &input).await;
        assert_eq!(refused.name, "InvalidCommit", "{what}");
        assert!(refused.message.starts_with("externalCommit:"), "{what}");
    }

    // Who comes late hears the epoch, and who has left is gone.
    let (_, late) = bob.device.join_by_external_commit(&info).unwrap();
    let (_, first) = reinstalled(&bob)
        .device
        .join_by_external_commit(&info)
        .unwrap();
    bob.post("processExternalCommit", &coming_back(&group, &first))
        .await;
    let late = coming_back(&group, &late);
    let refused = bob.post_refused("processExternalCommit", &late).await;
    assert_eq!(refused.told(), (409, "EpochMismatch"));
    assert!(refused.message.contains('2'), "{}", refused.message);
    bob.leave(&group).await;
    let refused = bob.post_refused("processExternalCommit", &late).await;
    assert_eq!(refused.name, "ConvoNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_asks_and_a_member_adds_it_anew() {
    let (world, [alice, bob], mut group) = together().await;
    bob.join(&group).await;
    let mut alices = world.live(&alice).await;

    // Packages whose keys are lost must not be what Alice gets.
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let bob = reinstalled(&bob);
    let package = bob.device.key_package().unwrap();
    let request = json!({
        "convoId": group.id(),
        "keyPackage": text(&package),
        "reason": "state_loss",
    });
    let answer = bob.post("requestRejoin", &request).await;
    assert_eq!(answer["pending"], true);
    let told = alices.next_named("#readditionRequestedEvent").await;
    assert_eq!(told.body()["userDid"], bob.did());
    assert_eq!(told.body()["deviceId"], bob.device.device_id());
    // However often it asks, the members are told once in a while.
    assert_eq!(bob.post("requestRejoin", &request).await, answer);

    // One commit takes the old leaf out and puts the new one in; the seat stays.
    let identity = format!("{}#{}", bob.did(), bob.device.device_id());
    let claimed = alice.claim(&[bob.did()]).await;
    assert_eq!(claimed, [package]);
    let commit = group.replace(&identity, &claimed[0]).unwrap();
    let input = adding(&group, &[bob.did()], &commit);
    alice.post("addMembers", &input).await;
    group.merge_commit().unwrap();
    let told = alices.next().await.unwrap();
    assert_eq!(told.name(), "#epochAdvanced", "nothing was told twice");
    let bobs = bob.join(&group).await;
    assert_eq!(bobs.authenticator(), group.authenticator());
    let members = alice.seats().await;
    assert_eq!(members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_while_a_clock_ran_ahead_may_ask_again_when_it_is_set_right() {
    let (world, [alice, bob], group) = together().await;
    bob.join(&group).await;
    let mut alices = world.live(&alice).await;
    let tablet = Phone::of(&bob).await;
    for phone in [&bob, &tablet] {
        let package = phone.device.key_package().unwrap();
        let request = json!({"convoId": group.id(), "keyPackage": text(&package)});
        phone.post("requestRejoin", &request).await;
        alices.next_named("#readditionRequestedEvent").await;
        world
            .database
            .run(
                "UPDATE members SET rejoin_requested_at = rejoin_requested_at + interval '1 day';
                 UPDATE key_package_claims SET expires_at = expires_at + interval '1 day'",
            )
            .await;
        phone.post("requestRejoin", &request).await;
        let told = alices.next_named("#readditionRequestedEvent").await;
        assert_eq!(told.body()["deviceId"], phone.device.device_id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_asks_in_two_groups_can_be_added_to_both() {
    let (world, [alice, bob]) = people().await;
    let (carol, back) = (Phone::new(&world).await, reinstalled(&bob));
    let first = alice.found(&[bob.did()]).await;
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let second = carol.found(&[bob.did()]).await;
    let packages = [&first, &second].map(|group| (group.id(), back.device.key_package().unwrap()));
    for (convo, package) in &packages {
        let request = json!({"convoId": convo, "keyPackage": text(package)});
        back.post("requestRejoin", &request).await;
    }
    let mut claimed = alice.claim(&[bob.did()]).await;
    claimed.extend(carol.claim(&[bob.did()]).await);
    claimed.sort_unstable();
    let mut left = packages.map(|(_, package)| package).to_vec();
    left.sort_unstable();
    assert_eq!(claimed, left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_registered_anew_keeps_what_it_published_since() {
    let (world, [alice, bob]) = people().await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        groups.push(alice.found(&[bob.did()]).await);
        bob.post("publishKeyPackage", &bob.key_package()).await;
    }
    // Times are kept in steps of two seconds: each thing here is an hour after the other.
    let an_hour_passes = async || {
        world
            .database
            .run(
                "UPDATE members SET joined_at = joined_at - interval '1 hour',
                     rejoin_requested_at = rejoin_requested_at - interval '1 hour';
                 UPDATE devices SET last_seen_at = last_seen_at - interval '1 hour';
                 UPDATE key_packages SET created_at = created_at - interval '1 hour'",
            )
            .await;
    };
    an_hour_passes().await;
    let bob = reinstalled(&bob);
    bob.post("registerDevice", &bob.registration()).await;
    for (group, available) in groups.iter().zip(2..) {
        an_hour_passes().await;
        let package = bob.device.key_package().unwrap();
        let request = json!({"convoId": group.id(), "keyPackage": text(&package)});
        bob.post("requestRejoin", &request).await;
        let stats = bob.get("getKeyPackageStats", &[]).await;
        assert_eq!(stats["available"], available, "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_left_may_ask_to_come_back_and_who_was_removed_may_not() {
    let (_world, [alice, bob, carol, mallory]) = people().await;
    let group = alice.found(&[bob.did(), carol.did()]).await;
    let ask = |phone: &Phone| {
        let package = phone.device.key_package().unwrap();
        json!({"convoId": group.id(), "keyPackage": text(&package)})
    };
    bob.leave(&group).await;
    bob.post("requestRejoin", &ask(&bob)).await;
    alice.remove(&group, &carol).await;
    for stranger in [&carol, &mallory] {
        let refused = stranger.post_refused("requestRejoin", &ask(stranger)).await;
        assert_eq!(refused.name, "ConvoNotFound");
    }
    // Asking is not being in.
    let id = group.id();
    let refused = bob.get_refused("getMessages", &[("convoId", &id)]).await;
    assert_eq!(refused.name, "ConvoNotFound");

    for (what, package) in [
        ("noise", bytes(&[1, 2, 3])["$bytes"].clone()),
        ("another account's", ask(&carol)["keyPackage"].clone()),
    ] {
        let bad = with(&ask(&bob), json!({"keyPackage": package}));
        let refused = bob.post_refused("requestRejoin", &bad).await;
        assert_eq!(refused.name, "InvalidKeyPackage", "{what}");
        assert!(refused.message.starts_with("keyPackage:"), "{what}");
    }
}

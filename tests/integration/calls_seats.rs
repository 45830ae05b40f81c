//! Whose a seat is, who may come back to it, and which Welcomes are of use, with real MLS
//! state on every side.

use mls_relay_loadtest::mls::{CIPHER_SUITE_NAME, Group};
use serde_json::{Value, json};

use crate::phone::{Phone, adding, people, together};
use crate::world::{assert_says, decoded, text, with};

/// What addMembers takes for one key package of this account, which is then in the group.
fn added(group: &mut Group, did: &str, package: Vec<u8>) -> Value {
    let commit = group.add(&[package]).unwrap();
    group.merge_commit().unwrap();
    adding(group, &[did], &commit)
}

/// What requestRejoin takes, with a package of this device, and the package.
fn asking(phone: &Phone, group: &Group) -> (Value, Vec<u8>) {
    let package = phone.device.key_package().unwrap();
    let request = json!({"convoId": group.id(), "keyPackage": text(&package)});
    (request, package)
}

/// A second device of Alice's, which Bob adds.
async fn tablet(alice: &Phone, bob: &Phone, group: &Group) -> Phone {
    let mut bobs = bob.join(group).await;
    let tablet = Phone::of(alice).await;
    let (request, package) = asking(&tablet, group);
    tablet.post("requestRejoin", &request).await;
    let input = added(&mut bobs, alice.did(), package);
    bob.post("addMembers", &input).await;
    tablet
}

/// The name of the refusal to serve this device a Welcome.
async fn no_welcome(phone: &Phone, group: &Group) -> String {
    let (id, device) = (group.id(), phone.device.device_id());
    let parameters = [("convoId", id.as_str()), ("deviceId", device)];
    phone.get_refused("getWelcome", &parameters).await.name
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_device_leaves_the_founder_its_seat() {
    let (_world, [alice, bob], group) = together().await;
    let tablet = tablet(&alice, &bob, &group).await;
    tablet.join(&group).await;

    // The tablet goes: the phone that founded stays.
    let gone = alice.delete(&tablet).await;
    assert_eq!(gone["conversationsLeft"], 1);
    let members = alice.seats().await;
    let seats = members.iter().filter(|seat| seat["userDid"] == alice.did());
    let seats: Vec<_> = seats.map(|seat| &seat["isAdmin"]).collect();
    assert_eq!(seats, [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_names_no_device_ends_no_welcome_of_its_sibling() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    let id = group.id();
    let ask = [("convoId", id.as_str())];
    for _ in [&bob, &tablet] {
        bob.get("getWelcome", &ask).await;
    }
    let done = json!({"convoId": id, "success": true});
    bob.post("confirmWelcome", &done).await;
    // The tablet was killed before it stored its own.
    let again = bob.get("getWelcome", &ask).await;
    let joined = tablet.device.join(&decoded(&again["welcome"])).unwrap();
    assert_eq!(joined.authenticator(), group.authenticator());
    tablet.post("confirmWelcome", &done).await;
    let refused = bob.get_refused("getWelcome", &ask).await;
    assert_eq!(refused.name, "WelcomeNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_cannot_ask_through_a_device_that_had_gone_before() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    bob.delete(&tablet).await;
    alice.remove(&group, &bob).await;
    for device in [&bob, &tablet] {
        let (request, _) = asking(device, &group);
        let refused = device.post_refused("requestRejoin", &request).await;
        assert_eq!(refused.name, "ConvoNotFound");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_leaves_no_welcome_behind() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let mut group = alice.found(&[bob.did()]).await;
    let removal = group.remove(bob.did()).unwrap();
    group.merge_commit().unwrap();
    let input = json!({
        "convoId": group.id(),
        "targetDid": bob.did(),
        "commit": text(&removal.commit),
    });
    alice.post("removeMember", &input).await;

    // Only the phone is added again: the tablet must not be let into an epoch of the past.
    let published = bob.key_package();
    bob.post("publishKeyPackage", &published).await;
    let package = decoded(&published["keyPackage"]);
    let input = added(&mut group, bob.did(), package);
    alice.post("addMembers", &input).await;
    assert_eq!(no_welcome(&tablet, &group).await, "WelcomeNotFound");
    let joined = bob.join(&group).await;
    assert_eq!(joined.authenticator(), group.authenticator());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_came_by_itself_is_not_welcomed_to_an_earlier_epoch() {
    let (_world, [alice, bob], group) = together().await;
    let info = alice.leave_group_info(&group).await;
    let (_, commit) = bob.device.join_by_external_commit(&info).unwrap();
    let input = json!({"convoId": group.id(), "externalCommit": text(&commit)});
    bob.post("processExternalCommit", &input).await;
    assert_eq!(no_welcome(&bob, &group).await, "WelcomeNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_device_that_comes_does_not_answer_for_one_that_asked() {
    let (_world, [alice, bob], mut group) = together().await;
    let (request, asked) = asking(&bob, &group);
    bob.post("requestRejoin", &request).await;
    let tablet = Phone::of(&bob).await;
    let package = tablet.device.key_package().unwrap();
    let published = json!({"keyPackage": text(&package), "cipherSuite": CIPHER_SUITE_NAME});
    let input = added(&mut group, bob.did(), package);
    bob.post("publishKeyPackage", &published).await;
    alice.post("addMembers", &input).await;
    let identity = format!("{}#{}", bob.did(), bob.device.device_id());
    let commit = group.replace(&identity, &asked).unwrap();
    let input = adding(&group, &[bob.did()], &commit);
    let added = alice.post("addMembers", &input).await;
    assert_eq!(added["newEpoch"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_a_seat_does_not_ask_in_the_name_of_another() {
    let (world, [_, bob], group) = together().await;
    let tablet = Phone::of(&bob).await;
    for phone in [&tablet, &tablet, &bob, &bob] {
        let (request, _) = asking(phone, &group);
        phone.post("requestRejoin", &request).await;
    }
    let sql = "SELECT e.payload ->> 'deviceId' FROM event_stream e \
               WHERE e.kind = 'readditionRequested' ORDER BY e.seq";
    let told: Vec<String> = world.database.all(sql, &[]).await;
    let each_once = [tablet.device.device_id(), bob.device.device_id()];
    assert_eq!(told, each_once);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_info_of_the_past_is_given_to_nobody() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    alice.leave_group_info(&group).await;
    let id = group.id();
    let past = group.group_info().unwrap();
    let past = json!({"convoId": id, "groupInfo": text(&past), "epoch": 0});
    let input = added(
        &mut group,
        bob.did(),
        alice.claim(&[bob.did()]).await.remove(0),
    );
    alice.post("addMembers", &input).await;

    // Nobody comes in by it any more: who asks shall not try for ever, but be added anew.
    let asked = [("convoId", id.as_str())];
    let refused = bob.get_refused("getGroupInfo", &asked).await;
    assert_eq!(refused.name, "GroupInfoUnavailable");
    let answer = alice.post("updateGroupInfo", &past).await;
    assert_eq!(answer, json!({"updated": false}));
    let refused = bob.get_refused("getGroupInfo", &asked).await;
    assert_eq!(refused.name, "GroupInfoUnavailable");
    alice.leave_group_info(&group).await;
    let kept = bob.get("getGroupInfo", &asked).await;
    assert_eq!(kept["epoch"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_that_founded_goes_with_its_device() {
    let (world, [alice, bob], _group) = together().await;
    let mut bobs = world.live(&bob).await;
    // The phone is stolen; what is called from elsewhere must end it.
    let stolen = json!({"deviceId": alice.device.device_id()});
    let gone = alice.post("deleteDevice", &stolen).await;
    assert_eq!(gone["conversationsLeft"], 1);
    let told = bobs.next_named("#membershipChangeEvent").await;
    assert_says(told.body(), json!({"did": alice.did(), "action": "left"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_others_made_the_last_admin_deletes_its_devices_all_the_same() {
    let (world, [alice, bob], group) = together().await;
    let mut heard = world.live(&alice).await;
    let role = |did: &str| json!({"convoId": group.id(), "targetDid": did});
    alice.post("promoteAdmin", &role(bob.did())).await;
    alice.post("demoteAdmin", &role(alice.did())).await;
    let refused = bob.post_refused("demoteAdmin", &role(bob.did())).await;
    assert_eq!(refused.name, "LastAdmin");

    let gone = bob.delete(&bob).await;
    assert_eq!(gone["conversationsLeft"], 1);
    let told = heard.next_named("#membershipChangeEvent").await;
    assert_says(told.body(), json!({"did": bob.did(), "action": "left"}));
    heard.next_named("#conversationUpdated").await;
    let seats = alice.seats().await;
    assert_eq!(seats.len(), 1);
    assert_says(&seats[0], json!({"userDid": alice.did(), "isAdmin": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays_one_while_it_has_another_device() {
    let (_world, [alice, bob], group) = together().await;
    let tablet = tablet(&alice, &bob, &group).await;
    alice.delete(&alice).await;
    let admins = async |phone: &Phone| -> Vec<Value> {
        let seats = phone.seats().await;
        let admins = seats.iter().filter(|seat| seat["isAdmin"] == true);
        admins.map(|seat| seat["userDid"].clone()).collect()
    };
    assert_eq!(admins(&bob).await, [alice.did()]);
    alice.delete(&tablet).await;
    assert_eq!(admins(&bob).await, [bob.did()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_founders_device_can_be_removed_alone() {
    let (_world, [alice, bob], group) = together().await;
    let heir = json!({"convoId": group.id(), "targetDid": bob.did()});
    alice.post("promoteAdmin", &heir).await;
    let removal = json!({
        "convoId": group.id(),
        "targetDid": alice.did(),
        "deviceId": alice.device.device_id(),
    });
    bob.post("removeMember", &removal).await;
    let members = bob.seats().await;
    assert_eq!(members.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_names_its_device_has_that_ones_seat() {
    let (_world, [alice, bob]) = people().await;
    // It could be either.
    let tablet = Phone::of(&alice).await;
    let (group, founding) = alice.founding(&[bob.did()]).await;
    let on = |phone: &Phone| with(&founding, json!({"deviceId": phone.device.device_id()}));
    for foreign in [&bob, &Phone::unregistered(&alice)] {
        let refused = alice.post_refused("createConvo", &on(foreign)).await;
        assert_eq!(refused.name, "InvalidRequest");
        assert!(refused.message.starts_with("deviceId"));
    }
    let founded = alice.post("createConvo", &on(&alice)).await;
    let again = alice.post("createConvo", &on(&alice)).await;
    assert_eq!(again, founded);

    let heir = json!({"convoId": group.id(), "targetDid": bob.did()});
    alice.post("promoteAdmin", &heir).await;
    for (device, seats) in [(&tablet, 0), (&alice, 1)] {
        let gone = alice.delete(device).await;
        assert_eq!(gone["conversationsLeft"], seats);
    }
}

/// A phone of this account that names no device, with a key package, and the package.
async fn nameless(of: &Phone) -> (Phone, Vec<u8>) {
    let phone = Phone::of_account(of);
    let package = phone.key_package();
    phone.post("publishKeyPackage", &package).await;
    (phone, decoded(&package["keyPackage"]))
}

/// The devices that have this account's seats; `None` is nobody's.
async fn seated(phone: &Phone, did: &str) -> Vec<Option<String>> {
    let members = phone.seats().await;
    let seats = members.iter().filter(|seat| seat["userDid"] == did);
    seats
        .map(|seat| seat["deviceId"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_names_no_device_is_not_taken_for_the_founders() {
    let (_world, [alice]) = people().await;
    // In nothing, but there when the conversation was founded.
    let tablet = Phone::of(&alice).await;
    let (mut group, founding) = alice.founding(&[]).await;
    let founding = with(&founding, json!({"deviceId": alice.device.device_id()}));
    alice.post("createConvo", &founding).await;
    let (_, package) = nameless(&alice).await;
    let input = added(&mut group, alice.did(), package);
    alice.post("addMembers", &input).await;

    let gone = alice.delete(&tablet).await;
    assert_eq!(gone["conversationsLeft"], 0);
    let own = Some(alice.device.device_id().to_owned());
    assert_eq!(seated(&alice, alice.did()).await, [own, None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_asks_does_not_take_the_seat_of_a_phone_that_names_none() {
    let (_world, [alice, bob]) = people().await;
    let (old, package) = nameless(&bob).await;
    let mut group = alice.found(&[]).await;
    let input = added(&mut group, bob.did(), package);
    alice.post("addMembers", &input).await;
    let (request, package) = asking(&bob, &group);
    bob.post("requestRejoin", &request).await;
    assert_eq!(seated(&alice, bob.did()).await, [None]);
    let input = added(&mut group, bob.did(), package);
    alice.post("addMembers", &input).await;
    assert_eq!(seated(&alice, bob.did()).await.len(), 2);
    // The phone goes on when the device is gone.
    bob.delete(&bob).await;
    old.get("getMessages", &[("convoId", &group.id())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_comes_back_does_not_take_the_seat_of_a_phone_that_names_none() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let (_, package) = nameless(&bob).await;
    for package in [package, bob.device.key_package().unwrap()] {
        let published = json!({"keyPackage": text(&package), "cipherSuite": CIPHER_SUITE_NAME});
        bob.post("publishKeyPackage", &published).await;
        let input = added(&mut group, bob.did(), package);
        alice.post("addMembers", &input).await;
    }
    let own = Some(bob.device.device_id().to_owned());
    assert_eq!(seated(&alice, bob.did()).await, [None, own.clone()]);
    // Its seat ends; its leaf is still there when it comes back.
    bob.delete(&bob).await;
    let info = alice.leave_group_info(&group).await;
    let back = bob.device.without_state().unwrap();
    let (_, commit) = std::sync::Arc::new(back)
        .join_by_external_commit(&info)
        .unwrap();
    let input = json!({"convoId": group.id(), "externalCommit": text(&commit)});
    bob.post("processExternalCommit", &input).await;
    assert_eq!(seated(&alice, bob.did()).await, [None, own]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_names_no_seat() {
    let (world, [alice, _bob], group) = together().await;
    let removal = json!({
        "convoId": group.id(),
        "targetDid": alice.did(),
        "deviceId": alice.device.device_id(),
    });
    let refused = alice.post_refused("removeMember", &removal).await;
    assert_eq!(refused.name, "LastAdmin");
    assert_eq!(seated(&alice, alice.did()).await, [None]);

    let other = "UPDATE conversations SET cipher_suite = 2";
    world.database.run(other).await;
    let (request, _) = asking(&alice, &group);
    let refused = alice.post_refused("requestRejoin", &request).await;
    assert_eq!(refused.name, "InvalidKeyPackage");
    assert_eq!(seated(&alice, alice.did()).await, [None]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_and_ends_no_welcome_of_a_phone_that_names_none() {
    let (_world, [alice, bob]) = people().await;
    let (old, _) = nameless(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    let id = group.id();
    let ask = [("convoId", id.as_str())];
    old.get("getWelcome", &ask).await;
    bob.join(&group).await;
    // Its answer may have been lost, so the device confirms once more.
    let done = json!({"convoId": id, "deviceId": bob.device.device_id(), "success": true});
    bob.post("confirmWelcome", &done).await;
    assert_eq!(no_welcome(&bob, &group).await, "WelcomeNotFound");
    // The phone was killed before it stored its own.
    let again = old.get("getWelcome", &ask).await;
    let joined = old.device.join(&decoded(&again["welcome"])).unwrap();
    assert_eq!(joined.authenticator(), group.authenticator());
}

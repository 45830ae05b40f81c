//! An account in very many conversations: what strangers may put it into, and what its
//! devices' coming and going costs everybody else.

use chrono::Utc;
use mls_relay::types::Did;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::json;

use crate::phone::{Phone, people, phones};
use crate::world::{World, assert_says, text};

/// Puts an account's device into so many conversations of somebody else's, of which the
/// latest was active last; in each a Welcome waits for it, or none.
async fn crowd(world: &World, phone: &Phone, conversations: i32, welcome: &str) {
    let founded =
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch, last_message_at)
        SELECT 'f0' || lpad(to_hex(n), 8, '0'), 'did:plc:puppet', 1, 0,
               date_bin('2 seconds', now() - (1000000 - n) * interval '2 seconds', 'epoch')
        FROM generate_series(1, $1) n";
    world.database.change(founded, &[&conversations]).await;
    let seated = "INSERT INTO members (convo_id, user_did, device_id, is_admin, joined_seq, joined_message_seq)
        SELECT c.convo_id, s.who, s.device, s.device IS NULL, 0, 0 FROM conversations c,
               (VALUES ('did:plc:puppet', NULL), ($1::text, $2::text)) AS s (who, device)
        WHERE c.creator_did = 'did:plc:puppet'";
    let (did, device) = (phone.did(), phone.device.device_id());
    world.database.change(seated, &[&did, &device]).await;
    let waiting = "INSERT INTO welcomes (convo_id, user_did, device_id, welcome, epoch)
        SELECT m.convo_id, m.user_did, m.device_id, convert_to($2::text, 'UTF8'), 0 FROM members m
        WHERE m.user_did = $1 AND $2::text <> ''";
    world.database.change(waiting, &[&did, &welcome]).await;
    world.database.run("ANALYZE").await;
}

/// How many events of the ends of these seats came together: the most in one transaction.
async fn together(world: &World, did: &str) -> Option<i64> {
    let sql = "SELECT max(n) FROM (SELECT count(*) AS n FROM event_stream e
        WHERE e.kind = 'membershipChange' AND e.payload ->> 'did' = $1
        GROUP BY e.xmin::text) t";
    world.database.one(sql, &[&did]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_in_very_many_conversations_goes_and_nobody_waits_for_all_of_it() {
    let (world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    crowd(&world, &bob, 20_000, "").await;

    let delete = json!({"deviceId": bob.device.device_id()});
    let sending = async {
        for _ in 0..500 {
            alice.send(&mut group, b"on and on").await;
        }
        std::future::pending::<()>().await;
    };
    let gone = tokio::select! {
        gone = bob.post("deleteDevice", &delete) => gone,
        () = sending => unreachable!("it only ends with the deletion"),
    };
    assert_eq!(gone["conversationsLeft"], 20_000);
    let most = together(&world, bob.did()).await;
    assert!(most <= Some(500), "{most:?} at once");
    let between = "SELECT count(*) FROM event_stream e, (SELECT min(l.seq), max(l.seq)
        FROM event_stream l WHERE l.kind = 'membershipChange' AND l.payload ->> 'did' = $1) l
        WHERE e.kind = 'message' AND e.seq BETWEEN l.min AND l.max";
    let sent: i64 = world.database.one(between, &[&bob.did()]).await;
    assert!(sent > 0, "no send got in between");
    assert_eq!(bob.get("listDevices", &[]).await["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_cut_off_goes_on_with_the_next_call() {
    let (world, [bob]) = people().await;
    crowd(&world, &bob, 700, "").await;
    let device = bob.device.device_id();
    let client = world.database.client().await;
    let one_bite = "SELECT outcome FROM delete_device($1, $2, 'a mark', now(), 500)";
    let row = client.query_one(one_bite, &[&bob.did(), &device]).await;
    assert_eq!(row.unwrap().get::<_, &str>(0), "more");
    let delete = json!({"deviceId": device});
    let gone = bob.post("deleteDevice", &delete).await;
    assert_says(&gone, json!({"deleted": true, "conversationsLeft": 200}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_of_one_of_very_many_conversations_goes_and_leaves_an_admin() {
    let (world, [bob]) = people().await;
    crowd(&world, &bob, 600, "").await;
    let last = "UPDATE members m SET is_admin = m.user_did = $1 WHERE m.convo_id = 'f000000258'";
    assert_eq!(world.database.change(last, &[&bob.did()]).await, 2);
    bob.delete(&bob).await;
    let led = "SELECT count(DISTINCT convo_id) FROM members WHERE left_seq IS NULL AND is_admin";
    let led: i64 = world.database.one(led, &[]).await;
    assert_eq!(led, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_in_very_many_conversations_goes_in_bites_too() {
    let (world, [bob]) = people().await;
    crowd(&world, &bob, 1200, "").await;
    let did = Did::parse(bob.did()).unwrap();
    let gone = world.store.delete_account(&did, Utc::now()).await.unwrap();
    assert_eq!((gone.devices, gone.conversations), (1, 1200));
    let most = together(&world, bob.did()).await;
    assert!(most <= Some(500), "{most:?} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_device_is_told_to_so_many_conversations_an_hour() {
    let (world, [bob]) = people().await;
    crowd(&world, &bob, 600, "").await;
    let client = world.database.client().await;
    let told = async || {
        let sql = "SELECT count(*), min(e.convo_id) FROM event_stream e WHERE e.kind = 'newDevice'";
        let row = client.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, String>(1))
    };
    let tablet = Phone::of(&bob).await;
    let oldest = "f000000065".to_owned(); // the 101st of 600
    assert_eq!(told().await, (500, oldest.clone()));
    bob.delete(&tablet).await;
    Phone::of(&bob).await;
    assert_eq!(told().await, (500, oldest), "it is told anew");
    let an_hour_later = "UPDATE key_package_claims SET expires_at = expires_at - interval '1 hour'";
    client.batch_execute(an_hour_later).await.unwrap();
    Phone::of(&bob).await;
    assert_eq!(told().await.0, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_put_an_account_into_half_of_what_may_wait_and_it_makes_room() {
    let world = World::with(|settings| settings.xrpc.seats.unconfirmed_convos_max = 4).await;
    let [alice, bob, carol] = phones(&world).await;
    crowd(&world, &bob, 1, "hello").await;
    let known = alice.found(&[bob.did()]).await;
    bob.join(&known).await;
    let founding = async |who: &Phone| {
        bob.post("publishKeyPackage", &bob.key_package()).await;
        who.founding(&[bob.did()]).await.1
    };
    let refused = async |who: &Phone| {
        let refused = who.post_refused("createConvo", &founding(who).await).await;
        assert_eq!(refused.name, "TooManyWelcomes");
    };
    let stranger = founding(&carol).await;
    carol.post("createConvo", &stranger).await;
    refused(&carol).await;
    // Who shares one with it that it has joined is no stranger.
    for _ in 0..2 {
        alice.post("createConvo", &founding(&alice).await).await;
    }
    refused(&alice).await;
    // What it leaves makes room for another.
    for convo in [&json!("f000000001"), &stranger["groupId"]] {
        bob.post("leaveConvo", &json!({"convoId": convo})).await;
    }
    refused(&carol).await;
    alice.post("createConvo", &founding(&alice).await).await;
    bob.leave(&known).await;
    refused(&alice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_in_so_many_conversations_and_makes_room_by_leaving() {
    let world = World::with(|settings| settings.xrpc.seats.convos_max = 3).await;
    let [alice, bob] = phones(&world).await;
    crowd(&world, &bob, 3, "").await;
    let (_, founding) = alice.founding(&[bob.did()]).await;
    let refused = alice.post_refused("createConvo", &founding).await;
    assert_eq!(refused.name, "TooManyConvos");
    let place = "initialMembers[0]: ";
    assert!(refused.message.starts_with(place), "{}", refused.message);
    let (_, own) = bob.founding(&[]).await;
    let refused = bob.post_refused("createConvo", &own).await;
    assert_eq!(refused.name, "TooManyConvos");
    assert!(
        refused
            .message
            .starts_with("already in 3 conversations or more"),
        "{}",
        refused.message
    );

    bob.post("leaveConvo", &json!({"convoId": "f000000001"}))
        .await;
    alice.post("createConvo", &founding).await;
    let refused = bob.post_refused("createConvo", &own).await;
    assert_eq!(refused.name, "TooManyConvos");
    // Whoever is in is not put in, and what was done is answered.
    alice.post("createConvo", &founding).await;
}

/// Strangers have left an account as many bytes as they may, until it makes room.
async fn strangers_leave_so_many_bytes(make_room: impl AsyncFnOnce(&Phone)) {
    let world = World::with(|settings| settings.xrpc.seats.welcome_bytes_max = 20_000).await;
    let [alice, bob] = phones(&world).await;
    crowd(&world, &bob, 1, &"x".repeat(19_999)).await;
    let (group, founding) = alice.founding(&[bob.did()]).await;
    let refused = alice.post_refused("createConvo", &founding).await;
    assert_eq!(refused.name, "TooManyWelcomes");
    for bound in ["500 conversations", "20000 bytes"] {
        assert!(refused.message.contains(bound), "{}", refused.message);
    }
    make_room(&bob).await;
    alice.post("createConvo", &founding).await;
    bob.join(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_is_left_makes_room_for_bytes() {
    strangers_leave_so_many_bytes(async |bob| {
        let leaving = json!({"convoId": "f000000001"});
        bob.post("leaveConvo", &leaving).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_that_is_confirmed_takes_no_room() {
    strangers_leave_so_many_bytes(async |bob| {
        let (convo, device) = ("f000000001", bob.device.device_id());
        let which = [("convoId", convo), ("deviceId", device)];
        bob.get("getWelcome", &which).await;
        let done = json!({"convoId": convo, "deviceId": device, "success": true});
        bob.post("confirmWelcome", &done).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_added_is_named_by_its_place_in_the_list() {
    let (world, [alice, bob, carol, dave]) = people().await;
    crowd(&world, &bob, 500, "hello").await;
    let too = "INSERT INTO welcomes (convo_id, user_did, welcome, epoch)
        SELECT convo_id, $1, welcome, epoch FROM welcomes";
    world.database.change(too, &[&dave.did()]).await;

    let mut group = alice.device.create_group().unwrap();
    let mut welcome = |packages: &[Vec<u8>]| {
        let welcome = group.add(packages).unwrap().welcome.unwrap();
        group.abandon_commit().unwrap();
        text(&welcome)
    };
    let dids = [carol.did(), bob.did(), dave.did()];
    let packages = alice.claim(&dids).await;
    let (carols, others): (Vec<_>, Vec<_>) = packages.into_iter().partition(|p| carol.made(p));
    let founding = |id: &str, dids: &[&str], welcome: &str| {
        json!({
            "groupId": id,
            "cipherSuite": CIPHER_SUITE_NAME,
            "currentEpoch": 1,
            "initialMembers": dids,
            "welcomeMessage": welcome,
        })
    };
    let id = "ab".repeat(16);
    let both = welcome(&[carols.clone(), others.clone()].concat());
    let all = founding(&id, &dids, &both);
    let refused = alice.post_refused("createConvo", &all).await;
    assert_eq!(refused.name, "TooManyWelcomes");
    let places = "initialMembers[1], initialMembers[2]: ";
    assert!(refused.message.starts_with(places), "{}", refused.message);
    // Their packages are as they were: who is left is added with what was claimed.
    let rest = founding(&id, &[carol.did()], &welcome(&carols));
    alice.post("createConvo", &rest).await;
    let adding = json!({
        "convoId": id,
        "didList": [dave.did(), bob.did()],
        "welcomeMessage": welcome(&others),
    });
    let refused = alice.post_refused("addMembers", &adding).await;
    let places = "didList[0], didList[1]: ";
    assert!(refused.message.starts_with(places), "{}", refused.message);

    // Nor is Bob's package there any more.
    let lost = "DELETE FROM key_packages WHERE user_did = $1";
    world.database.change(lost, &[&bob.did()]).await;
    let gone = founding(
        &"cd".repeat(16),
        &[dave.did(), bob.did()],
        &welcome(&others),
    );
    let refused = alice.post_refused("createConvo", &gone).await;
    assert_eq!(refused.name, "KeyPackageNotFound");
    let places = "initialMembers[1]: ";
    assert!(refused.message.starts_with(places), "{}", refused.message);
}

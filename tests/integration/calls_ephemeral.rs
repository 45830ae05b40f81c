//! Ephemeral messages: told to who listens, wherever that is, and kept nowhere.

use std::time::Duration;

use http::StatusCode;
use mls_relay_loadtest::mls::{Group, Received};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::event_stream::EventStream;
use crate::phone::{Phone, people, phones};
use crate::world::{World, decoded, with};

/// What sendEphemeral takes for this plaintext.
fn ephemeral(phone: &Phone, group: &mut Group, plaintext: &[u8]) -> Value {
    with(&phone.message(group, plaintext), json!({"msgId": null}))
}

/// Sends until everybody has heard it: who has only just begun to listen misses the first.
async fn tell_all(phone: &Phone, input: &Value, streams: &mut [EventStream]) -> Vec<Value> {
    let mut heard = Vec::new();
    for stream in streams {
        heard.push(loop {
            phone.post("sendEphemeral", input).await;
            let told = stream.next_named("#ephemeralEvent");
            if let Ok(told) = timeout(Duration::from_secs(2), told).await {
                break told.frame;
            }
        });
    }
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reaches_the_members_on_every_node_and_leaves_nothing_behind() {
    let world = World::start().await;
    let other = world.another_node().await;
    let [alice, bob] = phones(&world).await;
    let mut group = alice.found(&[bob.did()]).await;
    let mut bobs = bob.join(&group).await;
    let mut streams = [
        world.live(&alice).await,
        world.live(&bob).await,
        world.live(&other.client(&bob)).await,
    ];
    let rows = async || -> i64 {
        let sql = "SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM event_stream) \
                   + (SELECT last_seq FROM conversations)";
        world.database.one(sql, &[]).await
    };
    let before = rows().await;
    let input = ephemeral(&alice, &mut group, b"typing");
    let answer = alice.post("sendEphemeral", &input).await;
    assert_eq!(answer["epoch"], group.epoch());
    for frame in tell_all(&alice, &input, &mut streams).await {
        let body = json!({
            "convoId": group.id(), "epoch": group.epoch(), "ciphertext": input["ciphertext"],
        });
        assert_eq!(
            frame["body"], body,
            "and nothing that names a place or a sender"
        );
    }
    let received = bobs.receive(&decoded(&input["ciphertext"])).unwrap();
    assert!(matches!(received, Received::Application { plaintext, .. } if plaintext == b"typing"));
    assert_eq!(rows().await, before);

    // Who comes later finds what is stored, and no trace of it.
    alice.send(&mut group, b"tea?").await;
    // By then its node has heard all that passed.
    streams[1].next_named("#messageEvent").await;
    let mut late = EventStream::open(&bob, &[("cursor", "0")]).await;
    for wanted in ["#messageEvent", "#synced"] {
        let mut told = late.next().await.unwrap();
        while told.name() != wanted {
            assert_ne!(told.name(), "#ephemeralEvent");
            told = late.next().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_a_member_hears_nothing_and_may_not_speak() {
    let (world, [alice, bob, carol, eve]) = people().await;
    let mut group = alice.found(&[bob.did(), carol.did()]).await;
    let package = carol.key_package();
    carol.post("publishKeyPackage", &package).await;
    let mut other = alice.found(&[carol.did(), eve.did()]).await;
    let mut carols = [world.live(&carol).await];
    let mut eves = world.live(&eve).await;
    let mut bobs = [world.live(&bob).await];
    let first = ephemeral(&alice, &mut group, b"all");
    tell_all(&alice, &first, &mut carols).await;

    alice.remove(&group, &carol).await;
    let removed = carols[0].next_named("#membershipChangeEvent").await;
    assert_eq!(removed.body()["action"], "removed");
    let input = ephemeral(&alice, &mut group, b"without her");
    tell_all(&alice, &input, &mut bobs).await;
    for phone in [&carol, &eve] {
        let refused = phone.post_refused("sendEphemeral", &input).await;
        assert_eq!(refused.name, "ConvoNotFound");
    }
    // What comes to both is of the other conversation.
    let message = alice.send(&mut other, b"to you").await;
    for stream in [&mut carols[0], &mut eves] {
        loop {
            let told = stream.next().await.unwrap();
            assert_ne!(told.name(), "#ephemeralEvent");
            if told.name() == "#messageEvent" {
                assert_eq!(told.body()["messageId"], message["msgId"]);
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_held_to_the_rules_of_messages_and_to_one_notification() {
    let (world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let good = ephemeral(&alice, &mut group, b"hi");
    let mut elsewhere = alice.found(&[]).await;
    let foreign = ephemeral(&alice, &mut elsewhere, b"hi");
    let large = ephemeral(&alice, &mut group, &[7; 5000]);
    assert_eq!(large["paddedSize"], 8192);
    for (what, input, field) in [
        ("too large", large, "ciphertext: must be 1 to 4096 bytes"),
        (
            "of another size than it says",
            with(&good, json!({"paddedSize": 4096})),
            "ciphertext: must be 4096 bytes, as paddedSize says, not 512",
        ),
        (
            "in no bucket",
            with(&good, json!({"paddedSize": 600})),
            "paddedSize:",
        ),
        (
            "in a bucket of larger messages",
            with(&good, json!({"paddedSize": 8192})),
            "paddedSize: must be 512, 1024, 2048 or 4096",
        ),
        (
            "another group's",
            with(&good, json!({"ciphertext": foreign["ciphertext"]})),
            "ciphertext",
        ),
        ("with an id", with(&good, json!({"msgId": "x"})), "msgId"),
    ] {
        let refused = alice.post_refused("sendEphemeral", &input).await;
        assert_eq!(refused.name, "InvalidRequest", "{what}");
        let message = &refused.message;
        assert!(message.contains(field), "{what}: {message}");
    }
    let largest = ephemeral(&alice, &mut group, &[7; 3000]);
    assert_eq!(largest["paddedSize"], 4096);
    let mut stream = [world.live(&alice).await];
    let heard = tell_all(&alice, &largest, &mut stream).await;
    assert_eq!(heard[0]["body"]["ciphertext"], largest["ciphertext"]);

    alice.add(&mut group, &bob).await;
    let refused = alice.post_refused("sendEphemeral", &good).await;
    assert_eq!(refused.name, "EpochMismatch");
    assert!(refused.message.contains("epoch 1"), "{}", refused.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_quota_is_its_own() {
    let world = World::with(|settings| settings.quotas.send_ephemeral = 2).await;
    let alice = Phone::new(&world).await;
    let mut group = alice.found(&[]).await;
    let input = ephemeral(&alice, &mut group, b"hi");
    for _ in 0..2 {
        alice.post("sendEphemeral", &input).await;
    }
    let refused = alice.post_refused("sendEphemeral", &input).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.headers.contains_key("retry-after"));
    alice.send(&mut group, b"still").await;
}

//! `hydrate=true`: messages come with their events, exactly as getMessages gives them and
//! to nobody else.

use mls_relay_loadtest::mls::Group;
use serde_json::{Value, json};

use crate::event_stream::EventStream;
use crate::phone::{Phone, phones, together};
use crate::world::World;

async fn views(phone: &Phone, group: &Group) -> Vec<Value> {
    let id = group.id();
    let page = phone.get("getMessages", &[("convoId", &id)]).await;
    page["messages"].as_array().unwrap().clone()
}

/// The messages that the next `count` message events bring.
async fn brought(stream: &mut EventStream, count: usize) -> Vec<Value> {
    let mut brought = Vec::new();
    while brought.len() < count {
        let told = stream.next_named("#messageEvent").await;
        let message = told.body()["message"].clone();
        if !message.is_null() {
            assert_eq!(message["id"], told.body()["messageId"]);
        }
        brought.push(message);
    }
    brought
}

#[tokio::test(flavor = "multi_thread")]
async fn live_and_in_a_replay_on_every_node_it_is_what_get_messages_gives() {
    let world = World::start().await;
    let other = world.another_node().await;
    let [alice, bob] = phones(&world).await;
    let mut group = alice.found(&[bob.did()]).await;
    let elsewhere = other.client(&bob);
    let mut live = EventStream::open(&elsewhere, &[("hydrate", "true")]).await;
    live.next_named("#synced").await;
    let mut plain = EventStream::open(&bob, &[("hydrate", "false")]).await;
    plain.next_named("#synced").await;
    for number in 0..5_usize {
        alice.send(&mut group, &vec![7; number * 700]).await;
    }
    let views = views(&bob, &group).await;
    assert_eq!(views.len(), 5);
    assert_eq!(brought(&mut live, 5).await, views);
    assert_eq!(brought(&mut plain, 5).await, vec![Value::Null; 5]);
    // From the node's memory of events, and from the table by a node that has just begun.
    let newest = world.another_node().await;
    let ticket = bob.post("getSubscriptionTicket", &json!({})).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    for (client, mut query) in [
        (&*bob, vec![]),
        (&newest.client(&bob), vec![("ticket", ticket)]),
    ] {
        query.extend([("hydrate", "true"), ("cursor", "0")]);
        let mut replayed = EventStream::open(client, &query).await;
        assert_eq!(brought(&mut replayed, 5).await, views);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_replay_brings_all_in_order() {
    let (_world, [alice, bob], mut group) = together().await;
    for number in 0..90_u8 {
        alice.send(&mut group, &[number]).await;
    }
    let mut stream = EventStream::open(&bob, &[("hydrate", "true"), ("cursor", "0")]).await;
    let seqs: Vec<_> = brought(&mut stream, 90).await;
    let seqs: Vec<_> = seqs.iter().map(|view| view["seq"].as_u64()).collect();
    assert!(seqs.into_iter().eq((1..=90).map(Some)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_large_or_gone_is_announced_without() {
    let (world, [alice, bob], mut group) = together().await;
    let mut live = EventStream::open(&bob, &[("hydrate", "true")]).await;
    live.next_named("#synced").await;
    alice.send(&mut group, &vec![7; 70_000]).await;
    alice.send(&mut group, b"small").await;
    let brought_live = brought(&mut live, 2).await;
    assert!(brought_live[0].is_null());
    assert_eq!(brought_live[1], views(&bob, &group).await[1]);

    world.database.run("DELETE FROM messages").await;
    let newest = world.another_node().await;
    let query = [("hydrate", "true"), ("cursor", "0")];
    let mut late = EventStream::open(&newest.client(&bob), &query).await;
    assert_eq!(brought(&mut late, 2).await, [Value::Null, Value::Null]);
    assert_eq!(late.next().await.unwrap().name(), "#synced");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_removed_gets_no_message_after_it_not_even_an_old_one() {
    let (_world, [alice, bob], mut group) = together().await;
    let mut live = EventStream::open(&bob, &[("hydrate", "true")]).await;
    live.next_named("#synced").await;
    alice.send(&mut group, b"with him").await;
    assert_eq!(brought(&mut live, 1).await, views(&bob, &group).await);
    alice.remove(&group, &bob).await;
    alice.send(&mut group, b"without him").await;
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let other = alice.found(&[bob.did()]).await;
    loop {
        let told = live.next().await.unwrap();
        assert_ne!(told.name(), "#messageEvent");
        if told.body()["convoId"] == other.id() {
            break;
        }
    }
    // Nor by coming again: getMessages gives none of it any more.
    let query = [("hydrate", "true"), ("cursor", "0")];
    let mut again = EventStream::open(&bob, &query).await;
    assert_eq!(brought(&mut again, 1).await, [Value::Null]);
    loop {
        let told = again.next().await.unwrap();
        assert_ne!(told.name(), "#messageEvent");
        if told.name() == "#synced" {
            break;
        }
    }
}

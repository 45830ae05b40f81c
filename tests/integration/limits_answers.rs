//! How many bytes an account may be given in a minute: by answers to its calls, and by messages
//! that come with their events.

use http::StatusCode;
use mls_relay_loadtest::mls::Group;

use crate::event_stream::EventStream;
use crate::phone::{Phone, phones};
use crate::world::{Refused, World};

/// A world where three messages of the largest size that comes with its event are too much.
async fn stage() -> (World, [Phone; 2], Group) {
    let world = World::with(|settings| settings.quotas.answer_bytes = 200_000).await;
    let [alice, bob] = phones(&world).await;
    let mut group = alice.found(&[bob.did()]).await;
    for _ in 0..8 {
        alice.send(&mut group, &[7; 60_000]).await;
    }
    (world, [alice, bob], group)
}

fn assert_overdrawn(refused: &Refused) {
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.name, "RateLimitExceeded");
    let words = "too many bytes in answers to this account in a minute";
    assert!(refused.message.contains(words), "{}", refused.message);
    // What was given beyond 200,000 bytes comes back at 200,000 a minute.
    let wait: u64 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((1..=200).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_is_given_whole_and_the_next_must_wait() {
    let (world, [alice, bob], mut group) = stage().await;
    let id = group.id();
    let pages = [("convoId", id.as_str())];
    let page = bob.get("getMessages", &pages).await;
    assert!(page["messages"].as_array().unwrap().len() > 3);
    assert_overdrawn(&bob.get_refused("getMessages", &pages).await);
    assert_overdrawn(&bob.get_refused("getConvos", &[]).await);
    // It may go on to write, and to hear that something comes.
    let mut stream = world.live(&bob).await;
    bob.get_refused("getEpoch", &pages).await;
    alice.send(&mut group, b"still").await;
    stream.next_named("#messageEvent").await;
    // Others are given what is theirs.
    alice.get("getMessages", &pages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_come_with_their_events_count_as_well() {
    let (_world, [_alice, bob], group) = stage().await;
    let query = [("hydrate", "true"), ("cursor", "0")];
    let mut stream = EventStream::open(&bob, &query).await;
    let (mut brought, mut last) = (0, None);
    let ended = loop {
        let told = stream.next().await.expect("a last word");
        match told.body()["error"].as_str() {
            Some(_) => break told,
            None => last = told.id.clone().or(last),
        }
        brought += usize::from(told.name() == "#messageEvent");
    };
    assert!((1..=8).contains(&brought), "{brought}");
    assert_eq!(ended.body()["error"], "RateLimited");
    assert_eq!(
        ended.body()["cursor"].as_str(),
        last.as_deref(),
        "nothing is passed over"
    );
    assert!(stream.next().await.is_none());
    let again = EventStream::resume(&bob, &query, last.as_deref()).await;
    assert_overdrawn(&again.err().expect("nothing comes back so soon"));
    assert_overdrawn(
        &bob.get_refused("getMessages", &[("convoId", &group.id())])
            .await,
    );
    let mut plain = EventStream::open(&bob, &[("cursor", "0")]).await;
    plain.next_named("#synced").await;
}

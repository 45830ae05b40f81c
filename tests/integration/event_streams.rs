//! Server-sent events, for clients without WebSockets: the same stream, over HTTP/1.1 and
//! HTTP/2, under the same limits.

use std::time::{Duration, Instant};

use http::StatusCode;
use http_body_util::Full;
use serde_json::json;

use crate::event_stream::{EventStream, Told};
use crate::phone::{Phone, phones};
use crate::world::World;

/// Alice has founded a conversation with Bob.
async fn pair(world: &World) -> (Phone, Phone, mls_relay_loadtest::mls::Group) {
    let [alice, bob] = phones(world).await;
    let group = alice.found(&[bob.did()]).await;
    (alice, bob, group)
}

fn message_id(told: &Told) -> String {
    told.body()["messageId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_in_order_over_either_http() {
    let world = World::start().await;
    let (alice, bob, mut group) = pair(&world).await;
    let mut streams = [
        EventStream::open(&bob, &[]).await,
        EventStream::open_over_http_2(&bob, &[]).await,
    ];
    for stream in &mut streams {
        let synced = stream.next().await.unwrap();
        assert_eq!(synced.name(), "#synced");
        assert_eq!(synced.body()["conversations"][0]["convoId"], group.id());
    }
    let mut sent = Vec::new();
    for number in 0..5_u8 {
        let message = alice.send(&mut group, &[number]).await;
        sent.push(message["msgId"].as_str().unwrap().to_owned());
    }
    for stream in &mut streams {
        // The node may not have heard of the founding yet when the stream began.
        let first = stream.next_named("#messageEvent").await;
        assert_eq!(message_id(&first), sent[0]);
        for expected in &sent[1..] {
            let told = stream.next().await.unwrap();
            assert_eq!(
                (told.name(), &message_id(&told)),
                ("#messageEvent", expected)
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_resumes_where_it_was_by_cursor_or_as_browsers_do() {
    let world = World::start().await;
    let (alice, bob, mut group) = pair(&world).await;
    let mut stream = EventStream::open(&bob, &[]).await;
    let synced = stream.next().await.unwrap().id.unwrap();
    drop(stream);
    let mut sent = Vec::new();
    for number in 0..3_u8 {
        let message = alice.send(&mut group, &[number]).await;
        sent.push(message["msgId"].as_str().unwrap().to_owned());
    }
    let mut stream = EventStream::open(&bob, &[("cursor", &synced)]).await;
    // The node may not have heard of all that yet when the stream began.
    let mut ids = Vec::new();
    for expected in &sent {
        let told = stream.next_named("#messageEvent").await;
        assert_eq!(message_id(&told), *expected);
        ids.push(told.id);
    }
    drop(stream);
    // A browser asks the same address again, and says what it was told last.
    let again = [("cursor", synced.as_str())];
    let last = ids[0].as_deref();
    let mut stream = EventStream::resume(&bob, &again, last).await.unwrap();
    for expected in &sent[1..] {
        assert_eq!(message_id(&stream.next().await.unwrap()), *expected);
    }
    assert_eq!(stream.next().await.unwrap().name(), "#synced");

    let mut future = EventStream::open(&bob, &[("cursor", "9007199254740991")]).await;
    let error = future.next().await.unwrap();
    assert_eq!(
        (&error.frame["op"], &error.body()["error"]),
        (&json!(-1), &json!("FutureCursor"))
    );
    assert!(future.next().await.is_none(), "an error ends the stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_cursor_can_be_had_as_the_docs_say() {
    let world = World::start().await;
    let (alice, bob, mut group) = pair(&world).await;
    let mut stream = EventStream::open(&bob, &[]).await;
    let cursor = stream.next().await.unwrap().id.unwrap();
    alice.send(&mut group, &[0]).await;
    let page = include_str!("../../docs/clients.md");
    let (_, recipe) = page.split_once("psql \"host=").unwrap();
    let (recipe, _) = recipe.split_once("```").unwrap();
    let statements: Vec<&str> = recipe.split("-c \"").skip(1).collect();
    assert_eq!(statements.len(), 2);
    for statement in statements {
        let (statement, _) = statement.split_once('"').unwrap();
        world.database.run(statement).await;
    }
    // The relay that is started then.
    let node = world.another_node().await;
    let bob = node.client(&bob);
    let mut stream = EventStream::open(&bob, &[("cursor", &cursor)]).await;
    let info = stream.next().await.unwrap();
    assert_eq!(
        (info.name(), &info.body()["name"]),
        ("#info", &json!("OutdatedCursor"))
    );
    for name in ["#gap", "#synced"] {
        let told = stream.next().await.unwrap();
        assert_eq!(told.name(), name);
        assert_eq!(told.body()["conversations"][0]["lastSeq"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_place_was_in_the_oldest_day_hears_that_somebody_has_dropped_it() {
    let world = World::start().await;
    let (alice, bob, mut group) = pair(&world).await;
    let mut stream = EventStream::open(&bob, &[]).await;
    let cursor = stream.next().await.unwrap().id.unwrap();
    alice.send(&mut group, &[0]).await;
    let long_ago = "SELECT ensure_partition('event_stream', '2020-01-01');
        UPDATE event_stream SET emitted_at = '2020-01-01 00:00+00'";
    world.database.run(long_ago).await;
    let kept = alice.send(&mut group, &[1]).await;
    let drop = "DROP TABLE event_stream_20200101";
    world.database.run(drop).await;
    // One that does not remember what it held.
    let node = world.another_node().await;
    let mut stream = EventStream::open(&node.client(&bob), &[("cursor", &cursor)]).await;
    let info = stream.next().await.unwrap();
    assert_eq!(info.body()["name"], "OutdatedCursor");
    assert_eq!(
        message_id(&stream.next().await.unwrap()),
        kept["msgId"].as_str().unwrap()
    );
    for name in ["#gap", "#synced"] {
        let told = stream.next().await.unwrap();
        assert_eq!(told.name(), name);
        assert_eq!(told.body()["conversations"][0]["lastSeq"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_one_conversation_ends_with_it_and_a_ticket_opens_it() {
    let world = World::start().await;
    let (alice, bob, group) = pair(&world).await;
    let id = group.id();
    let ticket = bob
        .post("getSubscriptionTicket", &json!({"convoId": id}))
        .await;
    let query = [("ticket", ticket["ticket"].as_str().unwrap())];
    let mut stream = EventStream::open(&bob, &query).await;
    assert_eq!(stream.next().await.unwrap().name(), "#synced");
    let removal = json!({"convoId": id, "targetDid": bob.did()});
    alice.post("removeMember", &removal).await;
    // The node may not have heard of the founding yet when the stream began.
    while stream.next_named("#membershipChangeEvent").await.body()["action"] != "removed" {}
    let over = stream.next().await.unwrap();
    assert_eq!(
        (over.name(), &over.body()["name"]),
        ("#info", &json!("ConvoEnded"))
    );
    assert!(stream.next().await.is_none());

    let used = EventStream::resume(&bob, &query, None).await;
    let refused = used.err().unwrap();
    assert_eq!(refused.told(), (401, "JwtReplayed"));
    let gone = EventStream::resume(&bob, &[("convoId", &id)], None).await;
    assert_eq!(gone.err().unwrap().name, "ConvoNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_have_a_stream_is_told_so_in_http() {
    let world = World::start().await;
    let (alice, ..) = pair(&world).await;
    let mut anonymous = alice.get_request("streamConvoEvents", &[]);
    anonymous.headers_mut().remove("authorization");
    let refused = alice.refused("streamConvoEvents", anonymous).await;
    assert_eq!(refused.name, "AuthenticationRequired");
    let unknown = alice
        .get_refused("streamConvoEvents", &[("since", "1")])
        .await;
    assert_eq!(unknown.name, "InvalidRequest");
    assert!(unknown.message.contains("since"));
    let nonsense = EventStream::resume(&alice, &[], Some("never")).await;
    assert_eq!(nonsense.err().unwrap().name, "InvalidRequest");
    let post = alice.request("streamConvoEvents").method("POST");
    let refused = alice
        .refused("streamConvoEvents", post.body(Full::default()).unwrap())
        .await;
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(refused.headers["allow"], "GET");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_count_as_sockets_do() {
    let world = World::start().await;
    let bob = world.account();
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(world.live(&bob).await);
    }
    let refused = EventStream::resume(&bob, &[], None).await.err().unwrap();
    assert_eq!(refused.told(), (429, "RateLimitExceeded"));
    assert!(refused.headers.contains_key("retry-after"));
    // Who hangs up makes room, as soon as the relay has seen it.
    streams.pop();
    let deadline = Instant::now() + Duration::from_secs(20);
    while EventStream::resume(&bob, &[], None).await.is_err() {
        assert!(Instant::now() < deadline, "the place is not given back");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_a_phone_lost_makes_way_for_its_next_one_and_live_ones_stay() {
    let world = World::start().await;
    let (alice, bob, mut group) = pair(&world).await;
    let mut live = Vec::new();
    for _ in 0..4 {
        live.push(world.live(&bob).await);
    }
    for protocol in [b"http/1.1".as_slice(), b"h2"] {
        let _lost = EventStream::lost(&bob, protocol).await;
        let begun = Instant::now();
        let next = loop {
            match EventStream::resume(&bob, &[], None).await {
                Ok(next) => break next,
                Err(refused) => assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS),
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "no place");
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        drop(next);
        let message = alice.send(&mut group, &[0]).await;
        for stream in &mut live {
            let told = stream.next_named("#messageEvent").await;
            assert_eq!(message_id(&told), message["msgId"]);
        }
    }
}

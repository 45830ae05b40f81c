//! Server-sent events as a client meets them: the answer's body, a log in memory behind
//! the hub, time that passes when nothing else does.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::event_stream::{EventStream, last_event_id};
use super::serve::Session;
use super::tests::{BOB, World};
use crate::auth::Caller;
use crate::events;
use crate::events::tests::memory;
use crate::events::tests::subscriber::subscribe;
use crate::types::{ClientIp, ConvoId, Cursor, Did, Seq};
use crate::wire::{Body, Passing, Typing};

/// Opens a stream: its body, and the task of its session.
fn open(world: &World, convo: Option<&str>, after: Option<u64>) -> (Body, JoinHandle<()>) {
    let (line, response) = EventStream::open(world.shared.settings.clone(), None);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let address = ClientIp::new("192.0.2.1".parse().unwrap());
    let did = Did::parse(BOB).unwrap();
    let mut session = Session {
        line: Some(Box::new(line)),
        subscription: subscribe(&world.hub, BOB, convo, after),
        permit: world.limits.admit_socket(address, &did).ok().unwrap(),
        caller: Caller::assumed(BOB),
        shared: Arc::clone(&world.shared),
    };
    let shutdown = world.shutdown.clone();
    let served = tokio::spawn(async move {
        session.serve(&shutdown).await;
    });
    (response.into_body(), served)
}

/// The next chunk, or nothing at the end.
async fn chunk(body: &mut Body) -> Option<String> {
    let frame = timeout(Duration::from_secs(300), body.frame()).await;
    let frame = frame.expect("something comes")?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

/// The next chunk that is no heartbeat.
async fn news(body: &mut Body) -> Option<String> {
    loop {
        let chunk = chunk(body).await?;
        if !chunk.starts_with(':') {
            return Some(chunk);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_is_a_frame_of_json_under_its_cursor() {
    let world = World::new();
    let (mut body, _) = open(&world, None, Some(0));
    let first = news(&mut body).await.unwrap();
    let (id, data) = first.split_once('\n').unwrap();
    let cursor = id.strip_prefix("id: ").unwrap();
    let json = data
        .strip_prefix("data: ")
        .unwrap()
        .strip_suffix("\n\n")
        .unwrap();
    let frame: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(
        (&frame["op"], &frame["t"]),
        (&1.into(), &"#membershipChangeEvent".into())
    );
    // The log in memory has short cursors; they mean the same.
    let told = Cursor::parse(frame["body"]["cursor"].as_str().unwrap());
    assert_eq!(told.unwrap(), Cursor::parse(cursor).unwrap());
    // Where a client stands when nothing has happened is a place to resume from too.
    let synced = news(&mut body).await.unwrap();
    assert!(synced.starts_with("id: ") && synced.contains("#synced"));
    world.memory.send("aa");
    assert!(news(&mut body).await.unwrap().contains(r#""seq":2"#));
}

#[tokio::test(start_paused = true)]
async fn what_has_no_place_in_the_stream_is_no_place_to_resume_from() {
    let world = World::new();
    let (mut body, _) = open(&world, None, None);
    assert!(news(&mut body).await.unwrap().contains("#synced"));
    // Until the hub listens.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.memory.tell(&Passing::Typing(Typing {
        convo_id: ConvoId::parse("aa").unwrap(),
        did: Did::parse("did:plc:alice").unwrap(),
        is_typing: true,
    }));
    let told = news(&mut body).await.unwrap();
    assert!(told.starts_with("data: "), "{told}");
    assert!(told.contains("yping"), "{told}");
}

#[test]
fn a_client_that_remembers_no_event_resumes_after_none() {
    let mut headers = HeaderMap::new();
    assert_eq!(last_event_id(&headers), None);
    headers.insert("last-event-id", HeaderValue::from_static(""));
    assert_eq!(last_event_id(&headers), None);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_lost_is_told_as_a_gap() {
    let world = World::new();
    for _ in 0..4 {
        world.memory.send("aa");
    }
    world.memory.forget(3);
    let (mut body, _) = open(&world, None, Some(0));
    let mut heard = String::new();
    while !heard.contains("#synced") {
        heard.push_str(&news(&mut body).await.unwrap());
    }
    assert!(
        heard.contains("OutdatedCursor") && heard.contains("#gap"),
        "{heard}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_has_a_pulse_and_lasts() {
    let world = World::new();
    let (mut body, served) = open(&world, None, None);
    assert!(news(&mut body).await.unwrap().contains("#synced"));
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(chunk(&mut body).await.unwrap(), ": \n\n");
    }
    assert_eq!(
        begun.elapsed().as_secs(),
        20 * world.shared.settings.load().ping_after.as_secs()
    );
    assert!(!served.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_says_from_where_to_go_on() {
    let world = World::new();
    let (mut body, _) = open(&world, None, None);
    assert!(news(&mut body).await.unwrap().contains("#synced"));
    world.memory.set(memory::World::Silent);
    let (mut body, _) = open(&world, None, Some(1));
    let error = news(&mut body).await.unwrap();
    let (id, data) = error.split_once('\n').unwrap();
    let cursor = id.strip_prefix("id: ").unwrap();
    assert_eq!(Cursor::parse(cursor).unwrap().seq(), Seq::new(1));
    assert!(data.contains(r#""error":"Unavailable""#), "{data}");
    assert!(data.contains(&format!(r#""cursor":"{cursor}""#)), "{data}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_after_an_error_and_with_its_conversation() {
    let world = World::new();
    let (mut body, served) = open(&world, None, Some(9));
    let error = news(&mut body).await.unwrap();
    // Without an id: there is nothing to go on from.
    assert!(
        error.starts_with(r#"data: {"op":-1,"body":{"error":"FutureCursor""#),
        "{error}"
    );
    assert_eq!(chunk(&mut body).await, None);
    served.await.unwrap();

    let (mut body, served) = open(&world, Some("aa"), None);
    assert!(news(&mut body).await.unwrap().contains("#synced"));
    world.memory.remove(BOB, "aa");
    assert!(
        news(&mut body)
            .await
            .unwrap()
            .contains(r#""action":"removed""#)
    );
    assert!(news(&mut body).await.unwrap().contains("ConvoEnded"));
    assert_eq!(chunk(&mut body).await, None);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_says_when_to_come_back_and_ends_the_answer() {
    let world = World::new();
    let (mut body, served) = open(&world, None, None);
    assert!(news(&mut body).await.unwrap().contains("#synced"));
    let shutdown = world.shutdown.clone();
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(60)).await });
    let farewell = news(&mut body).await.unwrap();
    assert!(
        farewell.starts_with("retry: ") && farewell.contains("Draining"),
        "{farewell}"
    );
    assert_eq!(chunk(&mut body).await, None);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_taking_is_cut_off_and_one_that_goes_leaves_nothing() {
    let world = World::with(events::Settings {
        outbox_bytes_max: 10_000,
        ..events::Settings::default()
    });
    let (stuck, cut_off) = open(&world, None, None);
    let begun = Instant::now();
    for _ in 0..2_000 {
        world.memory.send("aa");
    }
    cut_off.await.unwrap();
    assert!(begun.elapsed() >= world.shared.settings.load().write_timeout);
    drop(stuck);
    // Five at a time for one account: their places are free again.
    for _ in 0..20 {
        let (body, served) = open(&world, None, None);
        drop(body);
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_on_a_slow_network_takes_what_is_long_in_small_chunks() {
    let world = World::new();
    for convo in 0..2_000 {
        world.memory.join(BOB, &format!("{convo:032x}"));
    }
    let (mut body, _) = open(&world, None, None);
    let begun = Instant::now();
    let mut heard = String::new();
    while !(heard.contains("#synced") && heard.ends_with("\n\n")) {
        let chunk = chunk(&mut body).await.unwrap();
        assert!(chunk.len() <= 16 << 10, "{}", chunk.len());
        heard.push_str(&chunk);
        // 1 KiB a second.
        tokio::time::sleep(Duration::from_secs(16)).await;
    }
    let silence_max = world.shared.settings.load().silence_max;
    assert!(begun.elapsed() > silence_max);
    // It is not called silent for that.
    world.memory.send("aa");
    assert!(news(&mut body).await.unwrap().contains("#messageEvent"));
}

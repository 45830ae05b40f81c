//! Sessions as a client meets them: a real WebSocket client at the other end of a
//! pipe, a log in memory behind the hub.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::farewell::Farewells;
use super::serve::Session;
use super::socket::Socket;
use super::{Settings, Shared};
use crate::auth::Caller;
use crate::events::tests::memory::Memory;
use crate::events::tests::subscriber::subscribe;
use crate::events::{self, Hub};
use crate::limits::{self, Clock, Limits};
use crate::runtime::{Duplex, Live, Shutdown};
use crate::types::{ClientIp, ConvoId, Did};
use crate::wire::{CloseReason, Framing};

pub(super) const BOB: &str = "did:plc:bob";

pub(super) struct World {
    pub(super) memory: Memory,
    pub(super) hub: Hub,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
    pub(super) pipe_len: usize,
    /// The one conversation that its sessions hear of, if not all.
    convo: Option<&'static str>,
    pub(super) shutdown: Shutdown,
    /// Of the hub: it outlives the sessions' drain.
    _hub_shutdown: Shutdown,
}

impl Duplex for DuplexStream {}

pub(super) type Client = WebSocketStream<DuplexStream>;

impl World {
    pub(super) fn new() -> Self {
        Self::with(events::Settings::default())
    }

    pub(super) fn with(settings: events::Settings) -> Self {
        let memory = Memory::default();
        memory.join(BOB, "aa");
        let (hub, hub_shutdown) = memory.hub(settings);
        let ticket = |convo: Option<&ConvoId>| match convo {
            Some(convo) => format!("a ticket for {}", convo.expose()),
            None => "a ticket".to_owned(),
        };
        Self {
            memory,
            hub,
            limits: Limits::new(Live::new(limits::Settings::default()), Clock::system()),
            shared: Arc::new(Shared::new(
                Live::new(Settings::default()),
                Farewells::new(Box::new(move |_, convo, _| Some(ticket(convo)))),
            )),
            pipe_len: 1 << 16,
            convo: None,
            shutdown: Shutdown::default(),
            _hub_shutdown: hub_shutdown,
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        self.shared.settings.snapshot()
    }

    fn session(
        &self,
        stream: DuplexStream,
        framing: Framing,
        after: Option<u64>,
    ) -> Session<Socket> {
        let address = ClientIp::new("192.0.2.1".parse().unwrap());
        let did = Did::parse(BOB).unwrap();
        Session {
            line: Some(Box::new(Socket::new(
                Box::new(stream),
                Vec::new(),
                framing,
                self.shared.settings.clone(),
            ))),
            subscription: subscribe(&self.hub, BOB, self.convo, after),
            permit: self.limits.admit_socket(address, &did).ok().unwrap(),
            caller: Caller::assumed(BOB),
            shared: Arc::clone(&self.shared),
        }
    }

    pub(super) async fn connect(
        &self,
        framing: Framing,
        after: Option<u64>,
    ) -> (Client, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(self.pipe_len);
        let mut session = self.session(near, framing, after);
        let shutdown = self.shutdown.clone();
        let served = tokio::spawn(async move {
            session.serve(&shutdown).await;
        });
        (
            WebSocketStream::from_raw_socket(far, Role::Client, None).await,
            served,
        )
    }

    pub(super) async fn connect_json(&self) -> Client {
        let (mut client, _) = self.connect(Framing::Json, None).await;
        assert!(text(&mut client).await.contains("#synced"));
        client
    }
}

pub(super) async fn next(client: &mut Client) -> Message {
    let message = timeout(Duration::from_secs(300), client.next()).await;
    message.expect("something comes").unwrap().unwrap()
}

pub(super) async fn text(client: &mut Client) -> String {
    loop {
        match next(client).await {
            Message::Text(text) => return text.as_str().to_owned(),
            Message::Ping(_) => {}
            other => panic!("not a text: {other:?}"),
        }
    }
}

pub(super) async fn close_code(client: &mut Client) -> (u16, String) {
    match next(client).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.as_str().to_owned()),
        other => panic!("not a close: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn events_arrive_in_either_framing() {
    let world = World::new();
    let (mut json, _) = world.connect(Framing::Json, Some(0)).await;
    let (mut cbor, _) = world.connect(Framing::DagCbor, Some(0)).await;
    let first = text(&mut json).await;
    assert!(first.starts_with(r##"{"op":1,"t":"#membershipChangeEvent","body":{"seq":1,"##));
    let synced = text(&mut json).await;
    let synced: serde_json::Value = serde_json::from_str(&synced).unwrap();
    assert_eq!(synced["t"], "#synced");
    assert_eq!(synced["body"]["conversations"][0]["convoId"], "aa");
    let Message::Binary(bytes) = next(&mut cbor).await else {
        panic!("not binary");
    };
    let start = b"\xa2\x61t\x76#membershipChangeEvent\x62op\x01";
    assert!(bytes.starts_with(start));
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_what_is_not_understood_is_not() {
    let world = World::new();
    let mut client = world.connect_json().await;
    for text in [
        "nonsense",
        r##"{"$type":"#ack","seq":1}"##,
        r##"{"$type":"#ping"}"##,
    ] {
        client.send(Message::text(text)).await.unwrap();
    }
    client
        .send(Message::Ping(bytes::Bytes::from_static(b"there?")))
        .await
        .unwrap();
    assert_eq!(
        text(&mut client).await,
        r##"{"op":1,"t":"#pong","body":{}}"##
    );
    assert_eq!(
        next(&mut client).await,
        Message::Pong(bytes::Bytes::from_static(b"there?"))
    );
    world.memory.send("aa");
    assert!(text(&mut client).await.contains(r#""seq":2"#));
}

#[tokio::test(start_paused = true)]
async fn a_cursor_from_the_future_is_refused_in_the_stream() {
    let world = World::new();
    let (mut client, served) = world.connect(Framing::Json, Some(9)).await;
    let error = text(&mut client).await;
    assert!(
        error.starts_with(r#"{"op":-1,"body":{"error":"FutureCursor""#),
        "{error}"
    );
    assert_eq!(
        close_code(&mut client).await,
        (1008, "FutureCursor".to_owned())
    );
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_was_never_given_out_is_refused_and_harms_nobody() {
    let world = World::new();
    let mut other = world.connect_json().await;
    // As in a ULID that is no cursor.
    let (mut client, _) = world.connect(Framing::Json, Some(u64::MAX)).await;
    assert!(text(&mut client).await.contains("FutureCursor"));
    world.memory.send("aa");
    assert!(text(&mut other).await.contains("#messageEvent"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_one_that_does_not_is_given_up() {
    let world = World::new();
    let (mut lively, _) = world.connect(Framing::Json, None).await;
    let (_silent, given_up) = world.connect(Framing::Json, None).await;
    let begun = Instant::now();
    let reading = tokio::spawn(async move { while lively.next().await.is_some() {} });
    given_up.await.unwrap();
    let waited = begun.elapsed();
    assert!(waited >= world.settings().silence_max);
    // At the latest with the look after it.
    assert!(waited <= world.settings().silence_max + world.settings().ping_after);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!reading.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_everyone_away_spread_over_its_window() {
    let world = World::new();
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(world.connect_json().await);
    }
    let shutdown = world.shutdown.clone();
    let begun = Instant::now();
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(60)).await });
    let mut moments = Vec::new();
    for mut client in clients {
        moments.push(tokio::spawn(async move {
            let info = text(&mut client).await;
            assert!(info.contains(r#""name":"Draining""#));
            assert!(info.contains("reconnectAfterMs"));
            assert!(info.contains(r#""resumeTicket":"a ticket""#));
            assert_eq!(close_code(&mut client).await.0, 1012);
            begun.elapsed()
        }));
    }
    let mut waits = Vec::new();
    for moment in moments {
        waits.push(moment.await.unwrap());
    }
    let window = world.settings().drain_window;
    assert!(
        waits
            .iter()
            .all(|wait| *wait <= window + Duration::from_secs(1))
    );
    // Five slots of a fifth each: from one back to the one before the last, three lie
    // between; a session leaves up to two seconds before it should be back.
    waits.sort();
    let apart = waits[4] - waits[0];
    let earlier = world.settings().reconnect_spread;
    assert!(apart + earlier > window * 3 / 5, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn changed_settings_keep_nobody_from_leaving_in_its_turn() {
    let world = World::new();
    let mut client = world.connect_json().await;
    let shutdown = world.shutdown.clone();
    let begun = Instant::now();
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(60)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    world.shared.settings.replace(Settings::default());
    assert!(text(&mut client).await.contains(r#""name":"Draining""#));
    assert!(begun.elapsed() <= world.settings().drain_window);
}

#[tokio::test(start_paused = true)]
async fn who_hears_of_one_conversation_is_sent_away_with_a_ticket_for_that_one() {
    let mut world = World::new();
    world.convo = Some("aa");
    let mut client = world.connect_json().await;
    let shutdown = world.shutdown.clone();
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(60)).await });
    let info = text(&mut client).await;
    assert!(info.contains("a ticket for aa"), "{info}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_during_a_drain_is_sent_on_at_once_with_all_it_needs() {
    let world = World::new();
    let shutdown = world.shutdown.clone();
    let early = world.connect_json().await;
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(60)).await });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let (mut late, served) = world.connect(Framing::Json, Some(0)).await;
    let info = text(&mut late).await;
    assert!(info.contains(r#""name":"Draining""#), "{info}");
    assert!(info.contains("reconnectAfterMs"), "{info}");
    assert!(info.contains(r#""resumeTicket":"a ticket""#), "{info}");
    assert_eq!(close_code(&mut late).await.0, 1012);
    assert!(begun.elapsed() < Duration::from_secs(1));
    served.await.unwrap();
    drop(early);
}

#[tokio::test(start_paused = true)]
async fn an_open_session_goes_by_changed_settings_at_once() {
    let world = World::new();
    let mut client = world.connect_json().await;
    let begun = Instant::now();
    let hasty = Settings {
        ping_after: Duration::from_secs(5),
        silence_max: Duration::from_secs(8),
        ..Settings::default()
    };
    assert!(hasty.ping_after < world.settings().ping_after);
    world.shared.settings.replace(hasty);
    assert!(matches!(next(&mut client).await, Message::Ping(_)));
    assert_eq!(begun.elapsed().as_secs(), 5);
    // Patience comes back as well: the pong was heard at 5 s, the next ping is at 65.
    let patient = Settings {
        ping_after: Duration::from_secs(60),
        ..Settings::default()
    };
    let _ = timeout(Duration::from_millis(1), client.next()).await;
    world.shared.settings.replace(patient);
    assert!(matches!(next(&mut client).await, Message::Ping(_)));
    assert_eq!(begun.elapsed().as_secs(), 65);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_leaves_nothing_behind() {
    let world = World::new();
    let (mut client, served) = world.connect(Framing::Json, None).await;
    let _ = text(&mut client).await;
    drop(client);
    served.await.unwrap();
    // Five at a time for one account: its places are free again.
    for _ in 0..20 {
        let (client, served) = world.connect(Framing::Json, None).await;
        drop(client);
        served.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_without_a_goodbye_has_broken_no_rule() {
    let world = World::new();
    let (near, far) = tokio::io::duplex(world.pipe_len);
    let mut session = world.session(near, Framing::Json, None);
    let goes = async {
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        assert!(text(&mut client).await.contains("#synced"));
    };
    let (reason, ()) = tokio::join!(session.serve(&world.shutdown), goes);
    assert_eq!(reason, CloseReason::ClientGone);
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_is_answered() {
    let world = World::new();
    let (mut client, served) = world.connect(Framing::DagCbor, None).await;
    let _ = next(&mut client).await;
    client.close(None).await.unwrap();
    assert!(matches!(next(&mut client).await, Message::Close(_)));
    served.await.unwrap();
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_session_is_small() {
    let world = World::new();
    let (near, _far) = tokio::io::duplex(1024);
    let mut session = world.session(near, Framing::Json, None);
    let state = size_of_val(&session);
    let run = size_of_val(&session.serve(&world.shutdown));
    // With what tokio adds to a task, this fits the allocator's class of 1,536 bytes.
    assert!(state + run <= 1312, "a session takes {state} + {run} bytes");
}

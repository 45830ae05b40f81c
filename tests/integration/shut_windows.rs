//! WebSockets over HTTP/2 whose clients read slowly, or not at all: how they end.

use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::event_stream::EventStream;
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PREFACE, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    field, frame, next,
};
use crate::phone::Phone;
use crate::relay::{path, token};
use crate::world::World;

const CALL: &str = "subscribeConvoEvents";

/// The goodbye of a WebSocket, as its client sends it: masked, by nothing here.
const CLOSE: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// What answers it.
const CLOSED: &[u8] = &[0x88, 0x02, 0x03, 0xe8];

/// A second's worth of a busy machine, beside the two that a goodbye may take.
const SOON: Duration = Duration::from_secs(12);

/// A conversation with two long messages, and from where to hear of them.
async fn story(world: &World) -> (Phone, String) {
    let alice = Phone::new(world).await;
    let mut group = alice.found(&[]).await;
    let mut live = EventStream::open(&alice, &[]).await;
    let synced = live.next_named("#synced").await;
    let cursor = synced.body()["cursor"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let message = alice.message(&mut group, &[7; 40_000]);
        let sent: Value = alice.post("sendMessage", &message).await;
        assert!(sent["messageId"].is_string(), "{sent}");
        // The node has heard of it, too.
        live.next_named("#messageEvent").await;
    }
    (alice, cursor)
}

/// Opens a WebSocket as stream 1 of a connection of its own. The client has room for one
/// byte, which has come.
async fn subscribe(phone: &Phone, query: &str) -> TlsStream<TcpStream> {
    let token = token(&phone.client.account, CALL);
    let head = [
        field(":method", "CONNECT"),
        field(":protocol", "websocket"),
        field(":scheme", "https"),
        field(":path", &format!("{}?{query}", path(CALL))),
        field(":authority", "relay.test"),
        field("sec-websocket-version", "13"),
        field("sec-websocket-protocol", "mls-relay.json.v1"),
        field("authorization", &format!("Bearer {token}")),
    ];
    let mut stream = phone.client.relay.connect(&[b"h2"]).await.unwrap();
    let room = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let request = frame(HEADERS, END_HEADERS, 1, &head.concat());
    let begun = [PREFACE, &room, &request].concat();
    stream.write_all(&begun).await.unwrap();
    let first = until(&mut stream, |frame| frame.kind == DATA).await;
    assert_eq!((first.stream, first.payload.len()), (1, 1));
    stream
}

async fn until(stream: &mut TlsStream<TcpStream>, is_wanted: impl Fn(&Frame) -> bool) -> Frame {
    let wanted = async {
        loop {
            let next = next(stream).await;
            if is_wanted(&next) {
                return next;
            }
        }
    };
    timeout(SOON, wanted).await.expect("it comes soon")
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_with_its_window_shut_leaves_no_stream_behind() {
    let world = World::start().await;
    let (alice, cursor) = story(&world).await;
    let replay = format!("hydrate=true&cursor={cursor}");
    for (query, goodbye) in [
        // With several frames on their way, and with one that HTTP/2 has taken whole.
        (replay.as_str(), frame(DATA, 0, 1, CLOSE)),
        (&replay, frame(DATA, END_STREAM, 1, &[])),
        ("", frame(DATA, 0, 1, CLOSE)),
        ("", frame(DATA, END_STREAM, 1, &[])),
    ] {
        let mut stream = subscribe(&alice, query).await;
        stream.write_all(&goodbye).await.unwrap();
        let end = until(&mut stream, |frame| frame.kind == RST_STREAM).await;
        assert_eq!(end.stream, 1);
        // It was one stream of many.
        let head = [
            field(":method", "HEAD"),
            field(":scheme", "https"),
            field(":path", "/health/live"),
            field(":authority", "relay.test"),
        ];
        let request = frame(HEADERS, END_HEADERS | END_STREAM, 3, &head.concat());
        stream.write_all(&request).await.unwrap();
        let answer = until(&mut stream, |frame| frame.kind == HEADERS).await;
        assert_eq!(answer.stream, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_slowly_hears_all_to_the_answer_of_its_goodbye() {
    let world = World::start().await;
    let (alice, cursor) = story(&world).await;
    let mut stream = subscribe(&alice, &format!("hydrate=true&cursor={cursor}")).await;
    let more = 4096_u32.to_be_bytes();
    let more = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &more));
    let more = more.concat();
    let (mut heard, mut is_leaving) = (Vec::new(), false);
    loop {
        stream.write_all(&more).await.unwrap();
        let piece = until(&mut stream, |frame| frame.stream == 1).await;
        assert_eq!(piece.kind, DATA, "{piece:?}");
        heard.extend(piece.payload);
        if piece.flags & END_STREAM != 0 {
            break;
        }
        // In the middle of the first message.
        if heard.len() > 20_000 && !is_leaving {
            stream.write_all(&frame(DATA, 0, 1, CLOSE)).await.unwrap();
            is_leaving = true;
        }
    }
    assert!(heard.len() > 100_000, "both messages, in base64");
    assert!(heard.ends_with(CLOSED));
}

//! How long the edge waits for whom: for a handshake, a request, the next one, and for somebody to
//! take an answer.

use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Body, Bytes};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::frames::{
    self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::http2::http2;
use crate::relay::{Home, eventually, path, token};
use crate::tls::{Client, PATIENCE, Stream, read_head, read_to_end};
use crate::websocket::extended_connect;

#[tokio::test]
async fn whoever_does_not_shake_hands_or_ask_in_time_is_cut_off() {
    let relay = Home::lived_in()
        .with("RELAY_HANDSHAKE_TIMEOUT_SECONDS", "1")
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "1")
        .start();
    let no_handshake = async {
        let mut silent = TcpStream::connect(relay.public).await.unwrap();
        let read = timeout(PATIENCE, silent.read(&mut [0])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    };
    let a_request_that_never_ends = async {
        let mut slow = Client::http1(&relay).connect(&relay).await.unwrap();
        let begun = b"GET /health HTTP/1.1\r\nhost: a\r\nx-slow: ";
        slow.write_all(begun).await.unwrap();
        assert_eq!(read_to_end(&mut slow).await, "");
    };
    // Settings and a goodbye may come, then the end.
    let http_2_without_a_request = async {
        let mut quiet = Client::http2(&relay).connect(&relay).await.unwrap();
        let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        quiet.write_all(&begun).await.unwrap();
        read_to_end(&mut quiet).await;
    };
    tokio::join!(
        no_handshake,
        a_request_that_never_ends,
        http_2_without_a_request
    );
    // The deadlines are the relay's, and it lives on.
    let failed = "relay_edge_handshakes_failed_total{reason=\"timeout\"}";
    assert_eq!(relay.figure(failed).await, Some(1));
    let closed = relay.figure("relay_edge_idle_closed_total").await;
    assert_eq!(closed, Some(2));
}

#[tokio::test]
async fn whoever_lets_handshakes_run_out_is_an_offender() {
    let relay = Home::lived_in()
        .with("RELAY_HANDSHAKE_TIMEOUT_SECONDS", "1")
        .with("PENALTY_STRIKES", "1")
        .start();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(relay.public).await.unwrap());
    }
    eventually("it is in the box", || async {
        relay.figure("relay_limits_penalties_total").await == Some(1)
    })
    .await;
}

#[tokio::test]
async fn who_answers_no_ping_of_http_2_is_gone() {
    let relay = Home::lived_in()
        .with("RELAY_H2_PING_SECONDS", "5")
        .with("RELAY_H2_PING_TIMEOUT_SECONDS", "1")
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "120")
        .start();
    let mut gone = Client::http2(&relay).connect(&relay).await.unwrap();
    let begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    gone.write_all(&begun).await.unwrap();
    read_to_end(&mut gone).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_before_its_time() {
    let relay = Home::lived_in()
        .with("RELAY_IDLE_TIMEOUT_SECONDS", "2")
        .start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let begun = std::time::Instant::now();
    // Kept alive for a second request, then left alone.
    for _ in 0..2 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        let head = read_head(&mut stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }
    read_to_end(&mut stream).await;
    assert!(begun.elapsed().as_secs_f32() > 1.9);
}

#[tokio::test]
async fn an_answer_that_nobody_takes_is_given_up_and_those_beside_it_are_not() {
    let relay = Home::lived_in()
        .with("RELAY_STALL_TIMEOUT_SECONDS", "5")
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "1")
        .start();
    let client = Client::http2(&relay);
    let stream = TokioIo::new(client.connect(&relay).await.unwrap());
    let mut handshake = conn::http2::Builder::new(TokioExecutor::new());
    handshake.initial_stream_window_size(1);
    let (mut sender, connection) = handshake.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut ask = async |method| {
        let request = Request::builder().method(method);
        let request = request.uri("https://localhost/.well-known/did.json");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    };
    // Until it is read, nobody opens the window again.
    let body = ask("GET").await;
    eventually("it is given up", || async {
        relay.figure("relay_edge_answers_stalled_total").await == Some(1)
    })
    .await;
    assert!(body.collect().await.is_err());
    assert!(ask("HEAD").await.is_end_stream());
}

#[tokio::test]
async fn a_quiet_stream_over_http_2_is_not_an_idle_connection() {
    let directory = Directory::start().await.unwrap();
    let account = directory.account(Curve::P256).unwrap();
    let relay = Home::lived_in()
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "1")
        .with("RELAY_IDLE_TIMEOUT_SECONDS", "1")
        .knowing(&directory)
        .start();
    let (mut sender, mut connection) = http2(&relay).await;
    let call = "subscribeConvoEvents";
    let uri = format!("https://localhost{}", path(call));
    let request = extended_connect(uri, &token(&account, call));
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), http::StatusCode::OK);
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    let synced = timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(synced.unwrap().unwrap().is_text());
    // Several times as long as an idle connection lives.
    let quiet = timeout(Duration::from_secs(5), &mut connection).await;
    assert!(quiet.is_err(), "the connection was closed: {quiet:?}");
    // With its last stream, the connection has no use any more.
    socket.close(None).await.unwrap();
    timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_request_that_crosses_with_the_goodbye_of_an_idle_connection_is_answered() {
    let relay = Home::lived_in()
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "1")
        .start();
    let client = Client::http2(&relay);
    let mut stream = client.connect(&relay).await.unwrap();
    // The client has room for one byte of an answer.
    let room = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1]);
    let begun = [PREFACE, &room].concat();
    stream.write_all(&begun).await.unwrap();
    while frames::next(&mut stream).await.kind != GOAWAY {}
    let path = "/.well-known/did.json";
    // GET, https; the path and the host in letters (RFC 7541).
    let mut head = vec![0x82, 0x87, 0x04, path.len() as u8];
    head.extend(path.as_bytes());
    head.extend(b"\x01\x09localhost");
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &head);
    stream.write_all(&request).await.unwrap();
    // Longer than an idle connection has to say goodbye.
    let early = timeout(Duration::from_secs(4), until_answered(&mut stream)).await;
    assert!(early.is_err(), "it has taken its time");
    let more = frame(WINDOW_UPDATE, 0, 1, &65_535_u32.to_be_bytes());
    stream.write_all(&more).await.unwrap();
    until_answered(&mut stream).await;
    read_to_end(&mut stream).await;
}

async fn until_answered(stream: &mut Stream) {
    loop {
        let next = frames::next(stream).await;
        if (next.kind, next.flags) == (DATA, END_STREAM) {
            return;
        }
    }
}

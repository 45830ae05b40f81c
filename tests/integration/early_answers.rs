//! Answers that are known before a request has come in whole: they arrive, and the connection
//! goes on, also with clients that read nothing until they have written everything.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::frames::{self, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS};
use crate::frames::{field, frame};
use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, PATIENCE, read_head, read_to_end};

const PATH: &str = "/xrpc/blue.catbird.mls.optIn";

/// Longer than any buffer between the two.
const BODY_LEN: usize = 900_000;

#[tokio::test]
async fn a_refused_body_is_taken_and_the_connection_goes_on() {
    let relay = Relay::start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {BODY_LEN}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, stream.read_exact(&mut first))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&first, b"HTTP/1.1 401");
    let next = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let rest = [vec![b' '; BODY_LEN], next.to_vec()].concat();
    timeout(PATIENCE, stream.write_all(&rest))
        .await
        .unwrap()
        .unwrap();
    let answers = read_to_end(&mut stream).await;
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
    counts(&relay, "whole").await;
}

#[tokio::test]
async fn no_more_of_a_refused_body_is_taken_than_is_set() {
    let relay = Home::lived_in()
        .with("RELAY_UNREAD_BYTES_MAX", "1000")
        .start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {BODY_LEN}\r\n\r\n"
    );
    let begun = [head.as_bytes(), &[b' '; 2000]].concat();
    stream.write_all(&begun).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    counts(&relay, "too_long").await;
}

#[tokio::test]
async fn who_sends_on_when_its_head_is_refused_hears_why_and_for_so_long_as_is_set() {
    let relay = Home::lived_in()
        .with("RELAY_UNREAD_TIMEOUT_SECONDS", "2")
        .start();
    let piece = [b'a'; 32 << 10];
    for (status, begun) in [
        (
            "431",
            &b"GET / HTTP/1.1\r\nhost: localhost\r\nx-large: "[..],
        ),
        ("400", b"POST / HTTP/7.5\r\ncontent-length: 1000000\r\n\r\n"),
    ] {
        let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
        stream.write_all(begun).await.unwrap();
        stream.write_all(&piece).await.unwrap();
        // It reads nothing before it has written all.
        let answered = read_head(&mut stream).await.unwrap();
        assert!(answered.contains(status), "{answered}");
        for _ in 0..8 {
            stream.write_all(&piece).await.unwrap();
        }
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
        assert!(ended.unwrap().is_ok(), "{rest:?}");
    }
    eventually("both are counted", || async {
        let name = "relay_edge_unread_total{end=\"whole\"}";
        relay.figure(name).await == Some(2)
    })
    .await;
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    stream.write_all(b"not http\r\n\r\n").await.unwrap();
    let going_on = async { while stream.write_all(&piece).await.is_ok() {} };
    timeout(PATIENCE, going_on).await.unwrap();
    counts(&relay, "too_slow").await;
}

#[tokio::test]
async fn who_sends_a_long_request_without_tls_hears_why_it_is_refused() {
    let relay = Relay::start();
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\ncontent-length: {BODY_LEN}\r\n\r\n");
    // It reads nothing before it has written all.
    for piece in [head.as_bytes(), &[b' '; BODY_LEN]] {
        let written = timeout(PATIENCE, stream.write_all(piece)).await;
        written.unwrap().unwrap();
    }
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("speaks TLS"), "{answer}");
    drop(stream);
    counts(&relay, "whole").await;
}

/// One body that ended like this is counted.
async fn counts(relay: &Relay, end: &str) {
    let line = format!("relay_edge_unread_total{{end=\"{end}\"}} 1");
    eventually("it is counted", || async {
        relay.ask_admin("/metrics").await.1.contains(&line)
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_word_is_not_asked_for_a_body_that_is_refused() {
    let relay = Relay::start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn over_http_2_a_refused_body_is_taken_and_no_reset_follows_the_answer() {
    let relay = Relay::start();
    let client = Client::http2(&relay);
    let mut stream = client.connect(&relay).await.unwrap();
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", PATH),
        ("content-type", "application/json"),
    ];
    let head: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    let begun = [
        frames::PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS, 1, &head),
    ];
    stream.write_all(&begun.concat()).await.unwrap();
    loop {
        let next = frames::next(&mut stream).await;
        if (next.kind, next.flags) == (DATA, END_STREAM) {
            break;
        }
    }
    // A client that has not read the answer yet goes on. It is owed no reset for that.
    let body = frame(DATA, 0, 1, &[b' '; 16_000]);
    let end = frame(DATA, END_STREAM, 1, &[]);
    let ping = frame(PING, 0, 0, b"are you?");
    stream.write_all(&[body, end, ping].concat()).await.unwrap();
    loop {
        let next = frames::next(&mut stream).await;
        assert_ne!(next.kind, RST_STREAM, "{next:?}");
        if next.kind == PING {
            break;
        }
    }
}

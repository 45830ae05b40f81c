//! Those who go on in spite of refusals: how much of it the relay listens to.

use std::time::Duration;

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::frames::{PREFACE, SETTINGS, WINDOW_UPDATE, frame};
use crate::http2::http2;
use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, read_to_end};

/// Far more than a client is refused before its connection ends.
const REQUESTS: usize = 2_000;

/// A relay that soon has heard enough.
fn strict() -> Home {
    Home::lived_in()
        .with("RATE_LIMIT_IP_PER_MINUTE", "3")
        .with("IP_RATE_BURST", "0")
        .with("PENALTY_STRIKES", "5")
}

async fn closed_for_it(relay: &Relay) {
    counted(relay, "relay_edge_refused_closed_total").await;
}

async fn counted(relay: &Relay, metric: &str) {
    eventually("it is counted", || async {
        relay.figure(metric).await == Some(1)
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_asks_on_and_on_in_spite_of_refusals_is_closed() {
    let relay = strict().start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    // All at once: none of them waits for what the one before it was told.
    let requests = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS);
    // It may be closed in the middle of it.
    let _ = stream.write_all(requests.as_bytes()).await;
    let answers = read_to_end(&mut stream).await;
    let answered = answers.matches("HTTP/1.1 429").count();
    assert!((5..REQUESTS / 2).contains(&answered), "{answered} answers");
    closed_for_it(&relay).await;
}

#[tokio::test]
async fn what_a_proxy_passes_is_not_held_against_it() {
    let relay = strict().with("TRUSTED_PROXIES", "127.0.0.0/8").start();
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.1\r\n";
    let last = format!("{request}connection: close\r\n\r\n");
    let requests = format!("{request}\r\n").repeat(99) + &last;
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answers = read_to_end(&mut stream).await;
    assert_eq!(answers.matches("HTTP/1.1 429").count(), 97);
}

#[tokio::test]
async fn over_http_2_too_it_ends_and_the_last_refusal_is_heard() {
    let relay = strict().start();
    let (mut sender, connection) = http2(&relay).await;
    let mut refused = 0;
    while refused < REQUESTS && sender.ready().await.is_ok() {
        let request = Request::builder().uri("https://localhost/");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        match sender.send_request(request).await {
            Ok(response) => refused += usize::from(response.status() == 429),
            // It crossed with the goodbye.
            Err(_) => break,
        }
    }
    assert!((5..REQUESTS / 2).contains(&refused), "{refused} refusals");
    drop(sender);
    let _ = connection.await.unwrap();
    closed_for_it(&relay).await;
}

/// What asks for nothing that any other rule counts, and costs as much as a request does.
#[tokio::test]
async fn frames_of_http_2_that_ask_for_nothing_are_heard_only_so_often() {
    let relay = Home::lived_in()
        .with("HTTP2_FRAMES_PER_MINUTE", "1000")
        .start();
    let mut stream = Client::http2(&relay).connect(&relay).await.unwrap();
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    stream.write_all(&begin).await.unwrap();
    let opens = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    stream.write_all(&opens.repeat(900)).await.unwrap();
    let still = timeout(Duration::from_millis(300), read_to_end(&mut stream)).await;
    assert!(still.is_err(), "fewer than are allowed");
    // It may be closed in the middle of it.
    let _ = stream.write_all(&opens.repeat(REQUESTS)).await;
    let end = timeout(Duration::from_secs(5), read_to_end(&mut stream)).await;
    assert!(end.is_ok(), "it goes on");
    let refused = "relay_limits_refused_total{rule=\"http2_frames\",outcome=\"refused\"}";
    counted(&relay, refused).await;
}

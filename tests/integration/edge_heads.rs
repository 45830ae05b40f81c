//! Heads that are too large, that cannot be read, or that others on the way may read otherwise:
//! such a request is refused, and nobody else's suffers for it.

use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::http2;
use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, PATIENCE, read_to_end};
use crate::wording;

#[tokio::test]
async fn a_request_says_once_and_in_good_form_to_whom_it_is() {
    let relay = Relay::start();
    for (line, hosts, expected) in [
        ("GET /health HTTP/1.1", "host: a\r\n", "200"),
        ("GET /health HTTP/1.1", "host:\r\n", "200"),
        ("GET /health HTTP/1.1", "", "400"),
        ("GET /health HTTP/1.1", "host: a\r\nhost: a\r\n", "400"),
        ("GET /health HTTP/1.1", "host: a/b\r\n", "400"),
        ("GET https://b/health HTTP/1.1", "host: a\r\n", "200"),
        ("GET https://b/health HTTP/1.1", "", "400"),
        // As balancers probe.
        ("GET /health HTTP/1.0", "", "200"),
        ("GET /health HTTP/1.0", "host: a\r\nhost: a\r\n", "400"),
    ] {
        let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
        let request = format!("{line}\r\n{hosts}connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let (_, status) = answer.split_once(' ').unwrap();
        assert!(status.starts_with(expected), "{request}{answer}");
    }
}

#[tokio::test]
async fn over_http_2_no_header_says_otherwise_to_whom_a_request_is() {
    let relay = Relay::start();
    let (mut sender, _connection) = http2(&relay).await;
    for (host, expected) in [("LOCALHOST", 200), ("elsewhere", 400)] {
        let request = Request::get("https://localhost/health").header("host", host);
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), expected, "{host}");
    }
}

#[tokio::test]
async fn behind_a_body_that_ends_elsewhere_for_others_nothing_is_heard() {
    let relay = Relay::start();
    let next = "GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    for (codings, expected) in [
        ("transfer-encoding: chunked\r\n", ["200", "200"].as_slice()),
        ("transfer-encoding: gzip, chunked\r\n", &["400"]),
        (
            "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            &["400"],
        ),
        (
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            &["400"],
        ),
        ("transfer-encoding: chunked, gzip\r\n", &["400"]),
        (
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            &["200"],
        ),
        (
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            &["200"],
        ),
    ] {
        let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
        let first = format!("GET /health HTTP/1.1\r\nhost: a\r\n{codings}\r\n0\r\n\r\n");
        let both = first + next;
        stream.write_all(both.as_bytes()).await.unwrap();
        let answers = read_to_end(&mut stream).await;
        let statuses = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| &answer[..3]);
        assert_eq!(
            statuses.collect::<Vec<_>>(),
            expected,
            "{codings} {answers}"
        );
    }
}

#[tokio::test]
async fn heads_over_their_bounds_are_refused() {
    let relay = Home::lived_in().with("RELAY_HEADERS_MAX", "20").start();
    let client = Client::http1(&relay);
    let large = format!("x-large: {}\r\n", "a".repeat(20_000));
    let many = "x-many: a\r\n".repeat(30);
    for headers in [large, many] {
        let answer = client.get(&relay, "/health", &headers).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let fine = "x-fine: a\r\n".repeat(10);
    let answer = client.get(&relay, "/health", &fine).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_head_that_nobody_can_read_is_refused_in_the_words_of_all_refusals() {
    let relay = Home::lived_in()
        .with("RELAY_HEADERS_MAX", "20")
        .with("PENALTY_STRIKES", "100")
        .start();
    let client = Client::http1(&relay);
    let ask = |headers: &str| format!("GET /health HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
    let long = "a".repeat(20_000);
    for (request, status) in [
        ("GET\0 / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/7.5\r\n\r\n".to_owned(), 400),
        ("GET /<\x7f> HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400),
        (ask("no header\r\n"), 400),
        (ask("content-length: ten\r\n"), 400),
        (ask("content-length: 1\r\ncontent-length: 2\r\n"), 400),
        (ask("x: \0\r\n"), 400),
        (
            "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            400,
        ),
        (ask(&format!("x: {long}\r\n")), 431),
        (ask(&"x: a\r\n".repeat(30)), 431),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 431),
    ] {
        for before in ["", &ask("")] {
            let mut stream = client.connect(&relay).await.unwrap();
            let requests = [before, &request].concat();
            stream.write_all(requests.as_bytes()).await.unwrap();
            let answers = read_to_end(&mut stream).await;
            let at = answers.rfind("HTTP/1.1 ").unwrap();
            let (head, body) = answers[at..].split_once("\r\n\r\n").unwrap();
            let shown = &request[..request.len().min(60)];
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{shown} {head}"
            );
            let has = |line: &str| head.lines().any(|one| one == line);
            assert!(has("content-type: application/json"), "{shown} {head}");
            assert!(has("access-control-allow-origin: *"), "{shown} {head}");
            assert!(has("connection: close"), "{shown} {head}");
            assert!(
                has(&format!("content-length: {}", body.len())),
                "{shown} {head}"
            );
            let body: Value = serde_json::from_str(body).unwrap();
            assert_eq!(body["error"], "InvalidRequest", "{shown}");
            let message = body["message"].as_str().unwrap();
            assert_eq!(wording::fault(message), None, "{message}");
        }
    }
}

#[tokio::test]
async fn garbage_instead_of_tls_or_http_ends_one_connection_only() {
    let relay = Relay::start();
    let mut plain = TcpStream::connect(relay.public).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let read = timeout(PATIENCE, plain.read_to_end(&mut said)).await;
    assert!(read.is_ok());
    let client = Client::http1(&relay);
    hear_garbage(&client, &relay).await;
    let answer = client.get(&relay, "/health", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A head that is none is answered once.
async fn hear_garbage(client: &Client, relay: &Relay) {
    let mut stream = client.connect(relay).await.unwrap();
    stream
        .write_all(b"\0\x01\x02 not http\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn heads_that_cannot_be_read_count_as_refusals_do() {
    let relay = Home::lived_in().with("PENALTY_STRIKES", "5").start();
    let client = Client::http1(&relay);
    for _ in 0..5 {
        hear_garbage(&client, &relay).await;
    }
    eventually("it is closed before TLS", || async {
        client.connect(&relay).await.is_err()
    })
    .await;
    let refused = relay.figure("relay_edge_heads_refused_total").await;
    assert_eq!(refused, Some(5));
}

//! The edge as strangers meet it: TLS, HTTP, deadlines, sizes, and who they are.

use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Body, Bytes};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::frames::{
    self, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::relay::{Home, Relay, eventually, path, token};
use crate::tls;
use crate::tls::{Client, PATIENCE, read_head, read_to_end};
use crate::websocket::{extended_connect, opened, upgrade};

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_resumed() {
    let relay = Relay::start();
    for version in [&TLS12, &TLS13] {
        let certificate = relay.home().certificate();
        let client = Client::new(&certificate, &[version], &["http/1.1"]);
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = client.connect(&relay).await.unwrap();
            let request = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let answer = read_to_end(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            // With TLS 1.3 the group may be negotiated in a second round.
            match (connection.handshake_kind(), expected) {
                (Some(HandshakeKind::FullWithHelloRetryRequest), HandshakeKind::Full) => {}
                (kind, expected) => assert_eq!(kind, Some(expected)),
            }
        }
    }
}

#[tokio::test]
async fn the_protocol_is_the_one_that_both_want_most() {
    let relay = Relay::start();
    for (offered, expected) in [
        (&["http/1.1", "h2"][..], Some("h2")),
        (&["http/1.1"][..], Some("http/1.1")),
        (&[][..], None),
    ] {
        let client = Client::new(&relay.home().certificate(), rustls::ALL_VERSIONS, offered);
        let stream = client.connect(&relay).await.unwrap();
        let chosen = stream.get_ref().1.alpn_protocol();
        assert_eq!(chosen, expected.map(str::as_bytes));
    }
}

/// A connection, and what ends with it.
async fn http2(
    relay: &Relay,
) -> (
    http2::SendRequest<Empty<Bytes>>,
    JoinHandle<hyper::Result<()>>,
) {
    let stream = Client::http2(relay).connect(relay).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    (sender, tokio::spawn(connection))
}

#[tokio::test]
async fn http_2_answers_many_requests_on_one_connection() {
    let relay = Relay::start();
    let (sender, _connection) = http2(&relay).await;
    let requests = (0..20).map(|_| {
        let mut sender = sender.clone();
        async move {
            let request = Request::get("https://localhost/xrpc/_health")
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap().to_bytes()
        }
    });
    for body in futures_util::future::join_all(requests).await {
        let version = concat!("{\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");
        assert_eq!(body, version.as_bytes());
    }
}

#[tokio::test]
async fn over_http_2_too_an_answer_to_head_has_a_length_and_no_body() {
    let relay = Relay::start();
    let (mut sender, _connection) = http2(&relay).await;
    let request = Request::head("https://localhost/xrpc/_health")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_ne!(response.headers()["content-length"], "0");
    // A frame of data would be a fault of the protocol.
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "");
}

#[tokio::test]
async fn the_public_listener_tells_health_the_did_document_and_nothing_else() {
    let relay = Relay::start();
    let client = Client::http1(&relay);
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = client.get(&relay, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains("content-length: 0"), "{path}: {answer}");
        assert!(answer.contains("strict-transport-security: max-age=63072000"));
    }
    let document = client.get(&relay, "/.well-known/did.json", "").await;
    assert!(document.contains("\"#atproto_mls\""), "{document}");
    assert!(document.contains("\"AtprotoMlsService\""), "{document}");
    assert!(document.contains(&format!("https://localhost:{}", relay.public.port())));
    for path in ["/", "/metrics", "/xrpc", "/health/", "/../etc/passwd"] {
        let answer = client.get(&relay, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(
            answer.contains("{\"error\":\"NotFound\",\"message\":"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn strict_transport_is_said_for_as_long_as_the_operator_wants() {
    for (days, expected) in [("1", true), ("0", false)] {
        let relay = Home::lived_in().with("RELAY_HSTS_DAYS", days).start();
        let answer = Client::http1(&relay).get(&relay, "/health", "").await;
        let header = "strict-transport-security: max-age=86400; includeSubDomains\r\n";
        assert_eq!(answer.contains(header), expected, "{answer}");
        assert_eq!(answer.contains("strict-transport-security"), expected);
    }
}

#[tokio::test]
async fn whoever_does_not_shake_hands_or_ask_in_time_is_cut_off() {
    let relay = Home::lived_in()
        .with("RELAY_HANDSHAKE_TIMEOUT_SECONDS", "1")
        .with("RELAY_HEADER_TIMEOUT_SECONDS", "1")
        .start();
    // No handshake.
    let mut silent = TcpStream::connect(relay.public).await.unwrap();
    let read = timeout(PATIENCE, silent.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    // A request that never ends.
    let mut slow = Client::http1(&relay).connect(&relay).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nx-slow: ")
        .await
        .unwrap();
    assert_eq!(read_to_end(&mut slow).await, "");
    // HTTP/2 without a request: settings and a goodbye may come, then the end.
    let client = Client::http2(&relay);
    let mut quiet = client.connect(&relay).await.unwrap();
    quiet
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    read_to_end(&mut quiet).await;
    // The deadlines are the relay's, and it lives on.
    let failed = "relay_edge_handshakes_failed_total{reason=\"timeout\"}";
    assert_eq!(relay.figure(failed).await, Some(1));
    let closed = relay.figure("relay_edge_idle_closed_total").await;
    assert_eq!(closed, Some(2));
}

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
    let mut handshake = http2::Builder::new(TokioExecutor::new());
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
    let begun = [frames::PREFACE, &room].concat();
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

async fn until_answered(stream: &mut tls::Stream) {
    loop {
        let next = frames::next(stream).await;
        if (next.kind, next.flags) == (DATA, END_STREAM) {
            return;
        }
    }
}

#[tokio::test]
async fn a_socket_is_an_open_connection_until_it_closes() {
    let directory = Directory::start().await.unwrap();
    let account = directory.account(Curve::P256).unwrap();
    let relay = Home::lived_in().knowing(&directory).start();
    let call = "subscribeConvoEvents";
    let mut stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let request = upgrade(&path(call), &token(&account, call), "");
    opened(&mut stream, &request).await;
    // What the session says first: HTTP has let go of the connection.
    timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap();
    let open = || relay.figure("relay_edge_connections");
    assert_eq!(open().await, Some(1));
    drop(stream);
    eventually("it is closed", || async { open().await == Some(0) }).await;
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
async fn garbage_instead_of_tls_or_http_ends_one_connection_only() {
    let relay = Relay::start();
    let mut plain = TcpStream::connect(relay.public).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let read = timeout(PATIENCE, plain.read_to_end(&mut said)).await;
    assert!(read.is_ok());
    let client = Client::http1(&relay);
    let mut stream = client.connect(&relay).await.unwrap();
    stream
        .write_all(b"\0\x01\x02 not http\r\n\r\n")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = client.get(&relay, "/health", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn heads_that_cannot_be_read_count_as_refusals_do() {
    let relay = Home::lived_in().with("PENALTY_STRIKES", "5").start();
    let client = Client::http1(&relay);
    for _ in 0..5 {
        let mut stream = client.connect(&relay).await.unwrap();
        stream
            .write_all(b"\0\x01\x02 not http\r\n\r\n")
            .await
            .unwrap();
        let answer = read_to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    eventually("it is closed before TLS", || async {
        client.connect(&relay).await.is_err()
    })
    .await;
    let refused = relay.figure("relay_edge_heads_refused_total").await;
    assert_eq!(refused, Some(5));
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_counted_not_the_proxy() {
    let relay = Home::lived_in()
        .with("RATE_LIMIT_IP_PER_MINUTE", "3")
        .with("IP_RATE_BURST", "0")
        .with("TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")
        .start();
    let client = Client::http1(&relay);
    for turn in 0..6 {
        let forwarded = format!("x-forwarded-for: 203.0.113.{turn}, 10.0.0.1\r\n");
        let answer = client.get(&relay, "/health", &forwarded).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut refused = 0;
    for turn in 0..6 {
        // What a client puts left of its own address changes nothing.
        let forwarded = format!("x-forwarded-for: 6.6.6.{turn}, 203.0.113.99\r\n");
        let answer = client.get(&relay, "/health", &forwarded).await;
        refused += usize::from(answer.starts_with("HTTP/1.1 429"));
    }
    assert_eq!(refused, 3);
}

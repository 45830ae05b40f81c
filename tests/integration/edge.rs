//! The edge as strangers meet it: what it speaks, what it tells them, and who they are to it.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http2::http2;
use crate::relay::{Home, Relay, eventually, path, token};
use crate::tls::{Client, PATIENCE, read_to_end};
use crate::websocket::{opened, upgrade};

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
async fn over_http_2_a_head_that_is_too_large_costs_its_stream_alone() {
    let relay = Relay::start();
    let (mut sender, _connection) = http2(&relay).await;
    // Each header weighs 32 bytes more than its text.
    for (headers, status) in [(100, 200), (600, 431), (1, 200)] {
        let mut request = Request::get("https://localhost/health");
        for number in 0..headers {
            request = request.header(format!("x-{number}"), "1");
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{headers}");
    }
}

#[tokio::test]
async fn the_public_listener_tells_health_the_did_document_and_nothing_else() {
    let relay = Relay::start();
    let client = Client::http1(&relay);
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = client.get(&relay, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        assert!(answer.contains("content-length: 0"), "{path}: {answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
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
    for path in ["/health", "/.well-known/did.json", "/xrpc/_health"] {
        let answer = client.ask(&relay, "POST", path, "").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{path}: {answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{path}: {answer}");
        assert!(
            answer.contains("{\"error\":\"InvalidRequest\""),
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
    let open = || relay.figure("relay_limits_open{rule=\"connections_total\"}");
    assert_eq!(open().await, Some(1));
    drop(stream);
    eventually("it is closed", || async { open().await == Some(0) }).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_client_is_counted_not_the_proxy() {
    let relay = Home::lived_in()
        .with("RATE_LIMIT_IP_PER_MINUTE", "3")
        .with("IP_RATE_BURST", "0")
        .with("TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8")
        .with("CONNECTIONS_PER_IP_PER_SECOND", "1")
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

#[tokio::test]
async fn the_operators_listener_has_as_many_places_as_are_set() {
    let relay = Home::lived_in()
        .with("RELAY_ADMIN_CONNECTIONS_MAX", "2")
        .start();
    let enter = async || {
        let mut stream = TcpStream::connect(relay.admin).await.unwrap();
        let request = b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n";
        // It may be closed before that.
        let _ = stream.write_all(request).await;
        let read = stream.read(&mut [0; 1024]).await;
        read.is_ok_and(|len| len > 0).then_some(stream)
    };
    let mut inside = Vec::new();
    while inside.len() < 2 {
        inside.extend(enter().await);
    }
    assert!(enter().await.is_none());
}

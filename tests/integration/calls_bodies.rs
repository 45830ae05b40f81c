//! Bodies of calls: what they may be, and how long they are waited for.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_within_its_bounds() {
    let world = World::with(|settings| {
        settings.xrpc.body_bytes_max = 2048;
        settings.xrpc.message_body_bytes_max = 4096;
    })
    .await;
    let client = world.account();
    let with_body = |kind: &str, body: &[u8]| {
        let request = client
            .request("createConvo")
            .method("POST")
            .header("content-type", kind);
        request
            .body(Full::from(Bytes::copy_from_slice(body)))
            .unwrap()
    };
    for (kind, body, status, name) in [
        ("text/plain", &b"{}"[..], 415, "UnsupportedMediaType"),
        ("application/json", &[b' '; 3000], 413, "PayloadTooLarge"),
        ("application/json", b"{", 400, "InvalidRequest"),
        ("application/json", b"[]", 400, "InvalidRequest"),
        ("application/json", b"\xff\xfe", 400, "InvalidRequest"),
        (
            "application/json; charset=utf-8",
            b"{}",
            400,
            "InvalidRequest",
        ),
    ] {
        let refused = client.refused("createConvo", with_body(kind, body)).await;
        assert_eq!(refused.told(), (status, name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_as_such() {
    let world = World::start().await;
    let client = world.account();
    let with_coding = |coding: &str| {
        let mut request = client.post_request("optIn", &json!({}));
        let coding = coding.parse().unwrap();
        request.headers_mut().insert("content-encoding", coding);
        request
    };
    let refused = client.refused("optIn", with_coding("gzip")).await;
    assert_eq!(refused.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(refused.headers["accept-encoding"], "identity");
    let message = &refused.message;
    assert!(message.contains("Content-Encoding"), "{message}");
    let (status, _, _) = client.exchange(with_coding("identity")).await;
    assert_eq!(status, StatusCode::OK);
}

/// Announcing is free, so it takes no memory from those who send.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_keeps_nobody_waiting() {
    let world = World::with(|settings| {
        settings.xrpc.body_bytes_max = 2048;
        settings.xrpc.message_body_bytes_max = 4096;
        settings.xrpc.bodies_bytes_max = 8192;
        settings.xrpc.body_timeout = Duration::from_secs(2);
    })
    .await;
    let client = world.account();
    let mut announced = Vec::new();
    for _ in 0..4 {
        let request = client.request("sendMessage").body(()).unwrap();
        let token = request.headers()["authorization"].to_str().unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: relay.test\r\nauthorization: {token}\r\n\
             content-type: application/json\r\ncontent-length: 4096\r\n\r\n",
            request.uri(),
        );
        let mut stream = world.relay.connect(&[b"http/1.1"]).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        announced.push(stream);
    }
    client.post("optIn", &json!({})).await;
    for mut stream in announced {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
}

/// Who has had its word to go on writes all of its body before it reads, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_asked_for_is_taken_though_it_is_refused_midway() {
    const BODY_LEN: usize = 900_000;
    let world = World::with(|settings| settings.xrpc.bodies_bytes_max = 100_000).await;
    let client = world.account();
    let request = client.request("sendMessage").body(()).unwrap();
    let token = request.headers()["authorization"].to_str().unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: relay.test\r\nauthorization: {token}\r\n\
         content-type: application/json\r\ncontent-length: {BODY_LEN}\r\n\
         expect: 100-continue\r\n\r\n",
        request.uri(),
    );
    let mut stream = world.relay.connect(&[b"http/1.1"]).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    let next = b"GET /health/live HTTP/1.1\r\nhost: relay.test\r\nconnection: close\r\n\r\n";
    let rest = [vec![b' '; BODY_LEN], next.to_vec()].concat();
    stream.write_all(&rest).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 503"), "{answers}");
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
}

/// As clients send it that do not know yet how much will come, or say over HTTP/2 that nothing
/// does in a frame of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_turns_out_empty_is_none() {
    let world = World::start().await;
    let client = world.account();
    for (body, status) in [("0\r\n\r\n", "200"), ("2\r\n{}\r\n0\r\n\r\n", "415")] {
        let request = client.request("optIn").body(()).unwrap();
        let token = request.headers()["authorization"].to_str().unwrap();
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: relay.test\r\nauthorization: {token}\r\n\
             transfer-encoding: chunked\r\nconnection: close\r\n\r\n{body}",
            request.uri(),
        );
        let mut stream = world.relay.connect(&[b"http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}

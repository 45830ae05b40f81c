//! The requests that open a WebSocket, in the JSON framing.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::tls::read_head;

/// Over HTTP/2 (RFC 8441).
pub(crate) fn extended_connect(uri: String, token: &str) -> Request<Empty<Bytes>> {
    Request::connect(uri)
        .version(Version::HTTP_2)
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "mls-relay.json.v1")
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::new())
        .unwrap()
}

/// Over HTTP/1.1 (RFC 6455 section 4.1), with these lines more in its head.
pub(crate) fn upgrade(path: &str, token: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-protocol: mls-relay.json.v1\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
    )
}

/// Asks for the upgrade, and waits until it is granted.
pub(crate) async fn opened(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), upgrade: &str) {
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let head = read_head(stream).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
}

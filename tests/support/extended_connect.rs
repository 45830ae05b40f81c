//! The request that opens a WebSocket over HTTP/2 (RFC 8441), in the JSON framing.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, Version};

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

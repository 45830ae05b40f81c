//! Whether a request asks for a WebSocket, and what to answer: HTTP/1.1
//! `Upgrade` (RFC 6455 section 4.2) or HTTP/2 extended CONNECT (RFC 8441).

use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::refusal::wrong_method;
use crate::types::unprintable;
use crate::wire::{Body, Framing, JSON_SUBPROTOCOL, THE_REQUEST, XrpcError, XrpcStatus, full};

/// A request for a WebSocket that can be granted.
pub(super) struct Handshake {
    /// `None` over HTTP/2, where no key is exchanged.
    accept: Option<String>,
    pub(super) framing: Framing,
}

unprintable!(Handshake);

impl Handshake {
    pub(super) fn read(request: &Parts) -> Result<Self, XrpcError> {
        let framing = if lists(&request.headers, SEC_WEBSOCKET_PROTOCOL, JSON_SUBPROTOCOL) {
            Framing::Json
        } else {
            Framing::DagCbor
        };
        let version = request.headers.get(SEC_WEBSOCKET_VERSION);
        let version_ok = version.is_some_and(|version| version == "13");
        if request.method == Method::CONNECT {
            // Known over HTTP/2 only.
            let protocol = request.extensions.get::<hyper::ext::Protocol>();
            if !version_ok || protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
                return Err(upgrade_required());
            }
            return Ok(Self {
                accept: None,
                framing,
            });
        }
        if request.method != Method::GET {
            return Err(wrong_method("GET"));
        }
        // A proxy that was not told otherwise asks in HTTP/1.0, which upgrades nothing (RFC 9110
        // section 7.8).
        let asks = request.version == Version::HTTP_11
            && lists(&request.headers, CONNECTION, "upgrade")
            && lists(&request.headers, UPGRADE, "websocket");
        if !asks || !version_ok {
            return Err(upgrade_required());
        }
        // 16 random bytes in base64, of which nothing more is known.
        let key = request.headers.get(SEC_WEBSOCKET_KEY);
        match key.filter(|key| key.len() == 24) {
            Some(key) => Ok(Self {
                accept: Some(derive_accept_key(key.as_bytes())),
                framing,
            }),
            None => Err(upgrade_required()),
        }
    }

    /// 101, or 200 over HTTP/2.
    pub(super) fn grant(&self) -> Response<Body> {
        let mut response = Response::new(full(Vec::new()));
        let headers = response.headers_mut();
        if self.framing == Framing::Json {
            let protocol = HeaderValue::from_static(JSON_SUBPROTOCOL);
            headers.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        // A digest in base64 is a header value.
        let accept = self.accept.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(accept)) = accept {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        response
    }
}

/// Whether a header that lists words has this one, in any case.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

fn upgrade_required() -> XrpcError {
    XrpcError::new(
        XrpcStatus::UpgradeRequired,
        "UpgradeRequired",
        format!("{THE_REQUEST}: must open a WebSocket, version 13, over HTTP/1.1 or HTTP/2"),
    )
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn request(lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::get("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_standard_is_granted() {
        let handshake = Handshake::read(&request(&GOOD)).unwrap();
        assert_eq!(handshake.framing, Framing::DagCbor);
        let response = handshake.grant();
        assert_eq!(response.status(), 101);
        assert_eq!(
            response.headers()["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn the_json_subprotocol_is_chosen_if_it_is_offered() {
        let mut lines = GOOD.to_vec();
        lines.push(("sec-websocket-protocol", "other, mls-relay.json.v1"));
        let handshake = Handshake::read(&request(&lines)).unwrap();
        assert_eq!(handshake.framing, Framing::Json);
        let response = handshake.grant();
        let protocol = &response.headers()["sec-websocket-protocol"];
        assert_eq!(protocol, JSON_SUBPROTOCOL);
    }

    #[test]
    fn a_request_that_lacks_anything_is_told_to_upgrade() {
        for missing in 0..GOOD.len() {
            let mut lines = GOOD.to_vec();
            lines.remove(missing);
            let error = Handshake::read(&request(&lines)).unwrap_err();
            assert_eq!(error.status, XrpcStatus::UpgradeRequired);
        }
        let [connection, upgrade, version, (name, key)] = GOOD;
        let short = [connection, upgrade, version, (name, &key[1..])];
        let error = Handshake::read(&request(&short)).unwrap_err();
        assert_eq!(error.status, XrpcStatus::UpgradeRequired);
    }

    #[test]
    fn http_1_0_upgrades_nothing() {
        let mut parts = request(&GOOD);
        parts.version = Version::HTTP_10;
        let error = Handshake::read(&parts).unwrap_err();
        assert_eq!(error.status, XrpcStatus::UpgradeRequired);
    }

    #[test]
    fn over_http_2_a_connect_names_the_protocol() {
        let connect = |version, protocol: Option<&'static str>| {
            let mut parts = request(&[("sec-websocket-version", version)]);
            parts.version = Version::HTTP_2;
            parts.method = Method::CONNECT;
            if let Some(protocol) = protocol {
                let protocol = hyper::ext::Protocol::from_static(protocol);
                parts.extensions.insert(protocol);
            }
            Handshake::read(&parts).map(|handshake| handshake.grant().status())
        };
        assert_eq!(connect("13", Some("websocket")).unwrap(), 200);
        for (version, protocol) in [("13", None), ("13", Some("tcp")), ("8", Some("websocket"))] {
            let error = connect(version, protocol).unwrap_err();
            assert_eq!(error.status, XrpcStatus::UpgradeRequired);
        }
    }
}

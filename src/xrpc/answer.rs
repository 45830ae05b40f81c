//! Pure. Answers on their way out.

use http::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use crate::types::Kind;
use crate::wire::{Body, full};

/// 200 with JSON.
pub(super) fn json_response(json: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(json));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What one account was told is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Says which verb the call wants.
pub(super) fn allow(response: &mut Response<Body>, kind: Kind) {
    let verb = match kind {
        Kind::Procedure => "POST",
        Kind::Query | Kind::Subscription => "GET",
    };
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(verb));
}

//! Pure. Answers on their way out.

use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

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

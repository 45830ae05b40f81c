//! Pure. Answers that are JSON.

use http::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::types::Kind;
use crate::wire::{Body, XrpcError, XrpcStatus, full};

/// 200 with a value as JSON.
pub(super) fn json_response<T: Serialize>(value: &T) -> Result<Response<Body>, XrpcError> {
    let bytes = serde_json::to_vec(value).map_err(|_| {
        XrpcError::new(
            XrpcStatus::Internal,
            "InternalServerError",
            "The relay made a mistake.",
        )
    })?;
    let mut response = Response::new(full(bytes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What one account was told is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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

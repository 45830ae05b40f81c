//! Pure. Answers: JSON with a status, and the headers that go with a refusal.

use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use serde::Serialize;

use crate::types::Kind;
use crate::wire::{Body, XrpcError, XrpcStatus, full};

/// 200 with a value as JSON.
pub fn json_response<T: Serialize>(value: &T) -> Result<Response<Body>, XrpcError> {
    let bytes = serde_json::to_vec(value).map_err(|_| {
        XrpcError::new(
            XrpcStatus::Internal,
            "InternalServerError",
            "The relay made a mistake.",
        )
    })?;
    Ok(json(StatusCode::OK, bytes))
}

/// A refusal: its envelope, and when or how to come back.
pub fn error_response(error: &XrpcError) -> Response<Body> {
    // Every status of the enum is one that HTTP knows.
    let code = error.status as u16;
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, error.to_json());
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(wait) = error.retry_after {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
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

fn json(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What one account was told is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refusal_says_how_and_when_to_come_back() {
        let error = XrpcError::new(XrpcStatus::Unauthorized, "AuthenticationRequired", "no");
        let response = error_response(&error);
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");

        let error = XrpcError::new(XrpcStatus::TooManyRequests, "RateLimitExceeded", "later")
            .retry_after(Duration::from_millis(1_001));
        assert_eq!(error_response(&error).headers()[RETRY_AFTER], "2");
    }
}

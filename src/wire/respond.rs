//! Pure. An XRPC error as an HTTP response: the only way in which one leaves.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::{Body, XrpcError, XrpcStatus, full};

impl XrpcError {
    /// The whole response: status, envelope, and `Retry-After` when there is one.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(full(self.to_json()));
        // Every status of the enum is a valid HTTP status.
        *response.status_mut() =
            StatusCode::from_u16(self.status as u16).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == XrpcStatus::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// Rounded up: a client that waits exactly so long must get in.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let error = XrpcError::new(
            XrpcStatus::TooManyRequests,
            "RateLimitExceeded",
            "slow down",
        )
        .retry_after(Duration::from_millis(1001));
        let response = error.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn who_must_authenticate_is_told_how() {
        let error = XrpcError::new(XrpcStatus::Unauthorized, "AuthenticationRequired", "no");
        assert_eq!(
            error.into_response().headers()["www-authenticate"],
            "Bearer"
        );
    }
}

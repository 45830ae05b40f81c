//! Pure. An XRPC error as an HTTP response: the only way in which one leaves.

use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue,
    RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};

use super::error::whole_seconds;
use super::{Body, Instead, XrpcError, XrpcStatus, full};

impl XrpcError {
    /// The whole response: status, envelope, and the headers that go with them.
    pub fn into_response(self) -> Response<Body> {
        let mut response = Response::new(full(self.to_json()));
        // Every status of the enum is a valid HTTP status.
        *response.status_mut() =
            StatusCode::from_u16(self.status as u16).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in demanded(self.status) {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(instead) = self.instead {
            let (name, value) = match instead {
                Instead::Methods(methods) => (ALLOW, methods),
                Instead::Codings(codings) => (ACCEPT_ENCODING, codings),
            };
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        response
    }
}

/// What has to go with a status: how to come in (RFC 9110 section 11.6.1), or what to speak
/// (section 15.5.22; RFC 6455 section 4.4). Only subscriptions ask for another protocol. Over
/// HTTP/2, which knows neither, hyper leaves `Connection` and `Upgrade` out.
fn demanded(status: XrpcStatus) -> &'static [(HeaderName, &'static str)] {
    match status {
        XrpcStatus::Unauthorized => &[(WWW_AUTHENTICATE, "Bearer")],
        XrpcStatus::UpgradeRequired => &[
            (CONNECTION, "Upgrade"),
            (UPGRADE, "websocket"),
            (SEC_WEBSOCKET_VERSION, "13"),
        ],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_is_told_twice_and_rounded_up_to_whole_seconds() {
        let error = XrpcError::new(
            XrpcStatus::TooManyRequests,
            "RateLimitExceeded",
            "slow down",
        )
        .retry_after(Duration::from_millis(1001));
        assert_eq!(error.message, "slow down; come back in 2 s");
        let response = error.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], "application/json");
    }

    #[test]
    fn who_asks_in_the_wrong_way_is_told_the_right_one() {
        let error = XrpcError::new(XrpcStatus::UpgradeRequired, "UpgradeRequired", "no");
        let response = error.into_response();
        assert_eq!(response.headers()["connection"], "Upgrade");
        assert_eq!(response.headers()["upgrade"], "websocket");
        assert_eq!(response.headers()["sec-websocket-version"], "13");
        let error = XrpcError::new(XrpcStatus::MethodNotAllowed, "InvalidRequest", "no");
        let response = error.instead(Instead::Methods("GET")).into_response();
        assert_eq!(response.headers()["allow"], "GET");
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

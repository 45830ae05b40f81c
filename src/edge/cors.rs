//! Pages of any origin may call (Fetch standard, "CORS protocol"), as on every ATProto
//! server: tokens alone tell who calls, and a browser adds none by itself.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HeaderMap, HeaderValue,
};
use http::{Response, StatusCode};

use super::route::bare;
use crate::wire::Body;

/// Lets any page read an answer, and what it says about limits.
pub(super) fn allow(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(EXPOSED),
    );
}

/// What a browser asks before a call that carries a token or a JSON body.
pub(super) fn preflight() -> Response<Body> {
    let mut response = bare(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST"),
        (ACCESS_CONTROL_ALLOW_HEADERS, TAKEN),
        (ACCESS_CONTROL_MAX_AGE, DAY_SECONDS),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `crate::limits::HEADERS` and `Retry-After`.
const EXPOSED: &str =
    "ratelimit-limit, ratelimit-remaining, ratelimit-reset, ratelimit-policy, retry-after";

/// The star stands for every name but `authorization`. Browsers that do not know it go by
/// the names of what ATProto clients send.
const TAKEN: &str = "authorization, content-type, atproto-accept-labelers, atproto-proxy, \
                     last-event-id, *";

/// Browsers cut it to their own most, two hours in Chromium.
const DAY_SECONDS: &str = "86400";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEADERS;

    #[test]
    fn every_header_about_limits_can_be_read() {
        let exposed: Vec<_> = EXPOSED.split(", ").collect();
        assert!(HEADERS.iter().all(|name| exposed.contains(&name.as_str())));
        assert!(exposed.contains(&"retry-after"));
    }
}

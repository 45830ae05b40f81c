//! Bodies: read whole, within a size, a time, and a share of memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::limits::MemoryPermit;
use crate::wire::{XrpcError, XrpcStatus};

/// A body that was read, with the memory that it takes until the call is answered.
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    _memory: MemoryPermit,
}

/// Reads a JSON body of at most `bytes_max` within `timeout`.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Incoming,
    memory: MemoryPermit,
    bytes_max: usize,
    timeout: Duration,
) -> Result<ReadBody, XrpcError> {
    // No body at all, as a procedure without input may be asked (RFC 9112 section 6.3).
    let is_absent = body.is_end_stream();
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    if !is_absent && !is_json(headers) {
        return Err(XrpcError::new(
            XrpcStatus::UnsupportedMediaType,
            "UnsupportedMediaType",
            "The body must be application/json.",
        ));
    }
    let whole = tokio::time::timeout(timeout, collect(body, memory, bytes_max)).await;
    whole.unwrap_or_else(|_| Err(timed_out()))
}

/// Takes memory as the bytes arrive: what is only announced costs nobody anything.
async fn collect(
    mut body: Incoming,
    mut memory: MemoryPermit,
    bytes_max: usize,
) -> Result<ReadBody, XrpcError> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| broken("The body broke off."))?;
        // Trailers say nothing that we would need.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        memory.take(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok(ReadBody {
        bytes: bytes.freeze(),
        _memory: memory,
    })
}

/// `application/json`, with or without parameters, in any case (RFC 9110 8.3.1).
fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

fn too_large(bytes_max: usize) -> XrpcError {
    XrpcError::new(
        XrpcStatus::PayloadTooLarge,
        "PayloadTooLarge",
        format!("The body may have {bytes_max} bytes at most."),
    )
}

/// A slow uplink: the same bytes may arrive next time.
fn timed_out() -> XrpcError {
    XrpcError::new(
        XrpcStatus::RequestTimeout,
        "RequestTimeout",
        "The body took too long to arrive.",
    )
    .retry_after(SLOW_RETRY)
}

fn broken(message: &'static str) -> XrpcError {
    XrpcError::new(XrpcStatus::BadRequest, "InvalidRequest", message)
}

const SLOW_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_known_by_its_essence() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(of("application/json") && of("Application/JSON; charset=utf-8"));
        assert!(!of("text/plain") && !of("application/jsonp") && !of(""));
        assert!(!is_json(&HeaderMap::new()));
    }
}

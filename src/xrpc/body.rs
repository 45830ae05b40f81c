//! Bodies: read whole, within a size, a time, and a share of memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::unavailable;
use crate::wire::{XrpcError, XrpcStatus};

/// Memory for bodies, shared by all calls. A body takes its share as it arrives and
/// gives it back when the call is answered.
#[derive(Clone, Debug)]
pub(super) struct Bodies(Arc<Semaphore>);

/// A body that was read, with its share of memory.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    _share: OwnedSemaphorePermit,
}

impl Bodies {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new(blocks(bytes_max))))
    }

    /// Reads a JSON body of at most `bytes_max` within `timeout`.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: Incoming,
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
        let whole = tokio::time::timeout(timeout, self.collect(body, bytes_max)).await;
        whole.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Takes memory as the bytes arrive: what is only announced costs nobody anything.
    async fn collect(&self, mut body: Incoming, bytes_max: usize) -> Result<ReadBody, XrpcError> {
        let mut bytes = BytesMut::new();
        let mut share = self.share(0)?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| broken("The body broke off."))?;
            // Trailers say nothing that we would need.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let len = bytes.len() + data.len();
            if len > bytes_max {
                return Err(too_large(bytes_max));
            }
            share.merge(self.share(blocks(len) - share.num_permits())?);
            bytes.extend_from_slice(&data);
        }
        Ok(ReadBody {
            bytes: bytes.freeze(),
            _share: share,
        })
    }

    fn share(&self, blocks: usize) -> Result<OwnedSemaphorePermit, XrpcError> {
        let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.0).try_acquire_many_owned(blocks);
        share.map_err(|_| {
            metrics::counter!("relay_calls_bodies_refused_total").increment(1);
            unavailable("Too many requests are being read.", BUSY_RETRY)
        })
    }
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
    .retry_after(BUSY_RETRY)
}

fn broken(message: &'static str) -> XrpcError {
    XrpcError::new(XrpcStatus::BadRequest, "InvalidRequest", message)
}

/// Memory is counted in blocks, so that a `u32` of permits is enough.
fn blocks(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK)
}

const BLOCK: usize = 1024;
const BUSY_RETRY: Duration = Duration::from_secs(1);

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

//! Answers on their way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::limits::MemoryPermit;
use crate::types::Nsid;
use crate::wire::{Body, XrpcError, full};

/// 200 with JSON. A large one takes memory until its client has taken it; what a call has
/// done or used up is told without, for it cannot be asked for again.
pub(super) fn json_response(
    call: Nsid,
    json: Vec<u8>,
    memory: impl FnOnce() -> MemoryPermit,
) -> Result<Response<Body>, XrpcError> {
    let body = if json.len() <= PORTION {
        full(json)
    } else {
        let mut memory = memory();
        let taken = memory.take(json.len());
        if call.is_repeatable() {
            taken?;
        }
        let portions = Portions {
            rest: json.into(),
            _memory: memory,
        };
        portions.boxed()
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // What one account was told is nobody else's.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A whole answer, given to HTTP a portion at a time: HTTP/2 would keep all of it for as
/// long as its client likes, where nobody counts it.
struct Portions {
    rest: Bytes,
    _memory: MemoryPermit,
}

impl HttpBody for Portions {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let len = self.rest.len().min(PORTION);
        let portion = self.rest.split_to(len);
        // A copy: a slice would keep the whole alive.
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&portion)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// As much as a TLS record (RFC 8446 section 5.1) and a frame of HTTP/2 (RFC 9113 section
/// 4.2) hold. Nobody counts an answer that is no larger.
pub(super) const PORTION: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::limits::{Clock, Limits, Settings};
    use crate::runtime::Live;
    use crate::types::Did;

    const ALL: usize = 1 << 20;
    const QUERY: Nsid = Nsid::GetMessages;

    fn memory(limits: &Limits) -> MemoryPermit {
        limits.memory_for_answer(&Did::parse("did:plc:abc").unwrap(), ALL)
    }

    #[test]
    fn a_large_answer_leaves_in_portions_and_takes_memory_until_it_has_left() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::system());
        let json: Vec<u8> = (0..ALL).map(|n| (n % 251) as u8).collect();
        let mut body = json_response(QUERY, json.clone(), || memory(&limits))
            .unwrap()
            .into_body();
        assert_eq!(body.size_hint().exact(), Some(ALL as u64));
        assert!(json_response(QUERY, json.clone(), || memory(&limits)).is_err());
        let context = &mut Context::from_waker(Waker::noop());
        let mut sent = Vec::new();
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(context) {
            let portion = frame.into_data().unwrap();
            assert!(portion.len() <= PORTION);
            sent.extend_from_slice(&portion);
        }
        assert_eq!(sent, json);
        assert!(body.is_end_stream());
        drop(body);
        assert!(json_response(QUERY, json, || memory(&limits)).is_ok());
    }

    #[test]
    fn what_a_call_has_used_up_is_told_however_full_it_is() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::system());
        let mut all = memory(&limits);
        all.take(ALL).unwrap();
        let told = |call| json_response(call, vec![b' '; PORTION + 1], || memory(&limits)).is_ok();
        assert!(!told(QUERY) && !told(Nsid::GetWelcome));
        assert!(told(Nsid::GetKeyPackages) && told(Nsid::AddMembers));
    }

    #[test]
    fn a_small_one_is_nobodys_memory() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::system());
        let mut all = memory(&limits);
        all.take(ALL).unwrap();
        assert!(json_response(QUERY, vec![b' '; PORTION], || memory(&limits)).is_ok());
        assert!(json_response(QUERY, vec![b' '; PORTION + 1], || memory(&limits)).is_err());
    }
}

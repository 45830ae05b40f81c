//! Bodies: read whole, within a size, a time, and a share of memory.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, sleep_until};

use super::settings::Settings;
use crate::limits::MemoryPermit;
use crate::runtime::{Live, PIECE_LEN_MIN, Pace};
use crate::wire::{Instead, THE_REQUEST, XrpcError, XrpcStatus, invalid};

/// A body that was read, with the memory that it takes until the call is answered.
pub(super) struct ReadBody {
    pub(super) bytes: Bytes,
    /// What it counts as: its length, or more if it came in very small pieces.
    pub(super) weight: usize,
    _memory: MemoryPermit,
}

/// How many bytes of JSON the head announces, at least; at most `bytes_max` may come.
pub(super) fn announced(
    headers: &HeaderMap,
    body: &Incoming,
    bytes_max: usize,
) -> Result<u64, XrpcError> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    check_form(headers, announced == 0)?;
    Ok(announced)
}

/// Of no body at all, as a procedure without input may be asked, nothing is to be said (RFC 9110
/// section 8.3). Where its length is not told, that shows at its end.
pub(super) fn check_form(headers: &HeaderMap, is_absent: bool) -> Result<(), XrpcError> {
    if is_absent {
        return Ok(());
    }
    if !is_json(headers) {
        return Err(unsupported("Content-Type: must be application/json"));
    }
    if !is_plain(headers) {
        let error = unsupported("Content-Encoding: must be identity, or absent");
        return Err(error.instead(Instead::Codings("identity")));
    }
    Ok(())
}

/// Reads a body that counts as at most `bytes_max`. It may stand still for as long as the settings
/// say, which may change meanwhile, or be so far behind the least pace. Takes memory as the bytes
/// arrive: what is only announced costs nobody anything.
pub(super) async fn collect(
    mut body: impl Body<Data = Bytes> + Unpin,
    mut memory: MemoryPermit,
    bytes_max: usize,
    settings: &Live<Settings>,
) -> Result<ReadBody, XrpcError> {
    let (mut bytes, mut weight, mut pieces) = (BytesMut::new(), 0, 0);
    let mut pace = Pace::new(memory.least_pace(), Instant::now());
    loop {
        let changed = settings.changed();
        let late_at = pace.late_at(settings.load().body_timeout);
        let frame = tokio::select! {
            biased;
            frame = body.frame() => frame,
            () = changed => continue,
            () = sleep_until(late_at) => return Err(timed_out()),
        };
        let Some(frame) = frame else {
            break;
        };
        let frame = frame.map_err(|_| invalid(THE_REQUEST, "has a body that broke off"))?;
        // Trailers say nothing that we would need.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let len = bytes.len() + data.len();
        if len > bytes_max {
            return Err(too_large(bytes_max));
        }
        pieces += 1;
        weight = len.max(pieces * PIECE_LEN_MIN);
        if weight > bytes_max {
            return Err(too_scattered(bytes_max));
        }
        match body.is_end_stream() {
            true => memory.take_last(data.len()),
            false => memory.take(data.len()),
        }?;
        bytes.extend_from_slice(&data);
        pace.require(memory.least_pace());
        pace.reach(bytes.len() as u64, Instant::now());
    }
    Ok(ReadBody {
        bytes: bytes.freeze(),
        weight,
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

/// Not compressed: ciphertext does not shrink, and what unpacks has no bound in its length.
fn is_plain(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(CONTENT_ENCODING).into_iter();
    let mut codings = codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    })
}

fn unsupported(message: &'static str) -> XrpcError {
    let status = XrpcStatus::UnsupportedMediaType;
    XrpcError::new(status, "UnsupportedMediaType", message)
}

fn too_large(bytes_max: usize) -> XrpcError {
    XrpcError::new(
        XrpcStatus::PayloadTooLarge,
        "PayloadTooLarge",
        format!("{THE_REQUEST}: must have a body of at most {bytes_max} bytes"),
    )
}

/// Each costs time, however little is in it.
fn too_scattered(bytes_max: usize) -> XrpcError {
    let pieces = bytes_max / PIECE_LEN_MIN;
    XrpcError::new(
        XrpcStatus::PayloadTooLarge,
        "PayloadTooLarge",
        format!("{THE_REQUEST}: has a body in over {pieces} pieces; send larger ones"),
    )
}

/// A slow uplink: the same bytes may arrive next time.
fn timed_out() -> XrpcError {
    XrpcError::new(
        XrpcStatus::RequestTimeout,
        "RequestTimeout",
        format!("{THE_REQUEST}: has a body that took too long to arrive"),
    )
    .retry_after(SLOW_RETRY)
}

/// The network may be better at once; the client is told to wait all the same.
const SLOW_RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io;
    use std::task::Poll;

    use futures_util::stream::{self, StreamExt};
    use http::HeaderValue;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;
    use tokio::time::sleep;

    use super::*;
    use crate::limits::{self, Clock, Limits};
    use crate::runtime::Live;
    use crate::types::Did;

    const PATIENCE: Duration = Duration::from_secs(60);
    const ALL: usize = 128 << 20;

    fn limits() -> Limits {
        Limits::new(Live::new(limits::Settings::default()), Clock::manual())
    }

    fn memory(limits: &Limits, name: &str) -> MemoryPermit {
        limits.memory_for_body(&Did::parse(name).unwrap(), ALL)
    }

    /// Reads so many pieces of this length, which come one a second, and then the end or
    /// nothing more: how many bytes came, and after how many seconds.
    async fn read(pieces: usize, len: usize, ends: bool) -> (Result<usize, XrpcStatus>, u64) {
        let memory = memory(&limits(), "did:plc:bob");
        read_within(memory, &patient(PATIENCE), pieces, len, ends).await
    }

    fn patient(patience: Duration) -> Live<Settings> {
        Live::new(with_patience(patience))
    }

    fn with_patience(body_timeout: Duration) -> Settings {
        Settings {
            body_timeout,
            ..Settings::default()
        }
    }

    async fn read_within(
        memory: MemoryPermit,
        settings: &Live<Settings>,
        pieces: usize,
        len: usize,
        ends: bool,
    ) -> (Result<usize, XrpcStatus>, u64) {
        let come = stream::iter(0..pieces).then(move |_| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, io::Error>(Frame::data(Bytes::from(vec![b' '; len])))
        });
        let stall = stream::poll_fn(move |_| match ends {
            true => Poll::Ready(None),
            false => Poll::Pending,
        });
        let body = StreamBody::new(Box::pin(come.chain(stall)));
        let begun = Instant::now();
        let read = collect(body, memory, 8 << 20, settings).await;
        let read = read.map(|body| body.bytes.len());
        (
            read.map_err(|error| error.status),
            begun.elapsed().as_secs(),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_time_while_it_comes_steadily() {
        // A photograph over EDGE, and what is small over less.
        for (pieces, len) in [(280, 5 << 10), (90, 1 << 10)] {
            let (read, took) = read(pieces, len, true).await;
            assert_eq!(read.unwrap(), pieces * len);
            assert!(took > PATIENCE.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_memory_is_scarce_a_body_must_come_faster() {
        let limits = limits();
        let mut much = memory(&limits, "did:plc:mallory");
        much.take(ALL / 2 + 1).unwrap();
        let bob = || memory(&limits, "did:plc:bob");
        let (read, took) = read_within(bob(), &patient(PATIENCE), 280, 5 << 10, true).await;
        assert_eq!(read, Err(XrpcStatus::RequestTimeout));
        // As far behind as patience reaches, at 5 of 32 KiB a second.
        assert!((PATIENCE.as_secs()..90).contains(&took), "{took}");
        let (read, _) = read_within(bob(), &patient(PATIENCE), 90, 32 << 10, true).await;
        assert_eq!(read.unwrap(), 90 * (32 << 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_or_trickles_is_given_up() {
        let timed_out = Err(XrpcStatus::RequestTimeout);
        let patience = PATIENCE.as_secs();
        assert_eq!(read(0, 0, false).await, (timed_out, patience));
        assert_eq!(read(1, 1 << 20, false).await, (timed_out, 1 + patience));
        assert_eq!(read(1_000, 16, true).await, (timed_out, patience));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stands_still_is_given_up_when_patience_becomes_less() {
        let settings = patient(PATIENCE);
        let bob = memory(&limits(), "did:plc:bob");
        let reading = read_within(bob, &settings, 1, 1 << 10, false);
        let shortening = async {
            sleep(Duration::from_secs(20)).await;
            settings.replace(with_patience(Duration::from_secs(25)));
        };
        let ((read, took), ()) = tokio::join!(reading, shortening);
        assert_eq!((read, took), (Err(XrpcStatus::RequestTimeout), 26));
    }

    #[tokio::test(start_paused = true)]
    async fn a_little_that_comes_at_once_is_nobodys_and_what_waits_is_its_accounts() {
        let limits = limits();
        let bob = || memory(&limits, "did:plc:bob");
        let mut much = bob();
        much.take(ALL / 8).unwrap();
        let whole = Full::new(Bytes::from_static(b"{}"));
        let read = collect(whole, bob(), 8 << 20, &patient(PATIENCE)).await;
        assert_eq!(read.map(|body| body.bytes.len()).ok(), Some(2));
        let (read, _) = read_within(bob(), &patient(PATIENCE), 2, 1 << 10, true).await;
        assert_eq!(read, Err(XrpcStatus::TooManyRequests));
    }

    #[tokio::test]
    async fn a_body_in_very_small_pieces_counts_as_more_than_it_is() {
        let in_pieces = async |count, len| {
            let piece = Bytes::from_static(&[b' '; 300]).slice(..len);
            let pieces = (0..count).map(|_| Ok::<_, io::Error>(Frame::data(piece.clone())));
            let (body, bob) = (StreamBody::new(stream::iter(pieces)), "did:plc:bob");
            let read = collect(body, memory(&limits(), bob), 8 << 20, &patient(PATIENCE)).await;
            read.map(|body| (body.bytes.len(), body.weight))
                .map_err(|error| error.status)
        };
        let most = (8 << 20) / PIECE_LEN_MIN;
        assert_eq!(in_pieces(1_000, 300).await, Ok((300_000, 300_000)));
        assert_eq!(in_pieces(1_000, 2).await, Ok((2_000, 256_000)));
        assert_eq!(in_pieces(most, 1).await, Ok((most, 8 << 20)));
        let too_many = in_pieces(most + 1, 1).await;
        assert_eq!(too_many, Err(XrpcStatus::PayloadTooLarge));
    }

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

    #[test]
    fn a_coding_is_one_that_changes_something() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(CONTENT_ENCODING, HeaderValue::from_static("identity"));
            headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            is_plain(&headers)
        };
        assert!(of("") && of("Identity, identity") && is_plain(&HeaderMap::new()));
        assert!(!of("gzip") && !of("identity, br") && !of("identity;q=1"));
    }
}

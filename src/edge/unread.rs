//! What is still to come of a request that has been answered.
//!
//! Many clients write their whole request before they read. Over HTTP/1.1 they would lose the
//! answer, for a connection that is closed with something unread is reset (RFC 9112 section
//! 9.6); and over HTTP/2 some do not keep what came before a reset, though they must (RFC 9113
//! section 8.1).

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

/// Reads a body to its end, or as far as an honest client may be owed.
pub(super) async fn discard(mut body: Incoming) {
    let read = async {
        let mut len = 0;
        while len < LEN_MAX {
            let Some(Ok(frame)) = body.frame().await else {
                return;
            };
            len += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = timeout(TIME_MAX, read).await;
}

/// More than nearly all calls have.
const LEN_MAX: usize = 1 << 20;

/// Long enough for that at 2 Mbit/s, and short beside a drain's grace.
const TIME_MAX: Duration = Duration::from_secs(5);

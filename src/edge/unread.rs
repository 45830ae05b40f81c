//! What is still to come of a request that has been answered.
//!
//! Many clients write their whole request before they read. Over HTTP/1.1 they would lose the
//! answer, for a connection that is closed with something unread is reset (RFC 9112 section
//! 9.6); and over HTTP/2 some do not keep what came before a reset, though they must (RFC 9113
//! section 8.1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::io::{AsyncRead, copy, sink};
use tokio::time::timeout;

use super::settings::Settings;
use crate::runtime::PIECE_LEN_MIN;

/// How the reading ended.
#[derive(Debug, Eq, PartialEq)]
enum End {
    /// Nothing more was to come, or will.
    Whole,
    TooLong,
    TooSlow,
}

/// Reads a body to its end, or as far as its client is owed.
pub(super) async fn discard(body: impl Body<Data = Bytes> + Unpin, settings: Arc<Settings>) {
    let read = read(body, settings.unread_bytes_max);
    let end = timeout(settings.unread_timeout, read).await;
    count(end.unwrap_or(End::TooSlow));
}

/// Reads a connection that we have closed until its client closes it too. How much that is, TLS
/// does not tell: it is let go as it comes.
pub(super) async fn discard_rest(mut stream: impl AsyncRead + Unpin, patience: Duration) {
    let mut nowhere = sink();
    let end = timeout(patience, copy(&mut stream, &mut nowhere)).await;
    count(end.map_or(End::TooSlow, |_| End::Whole));
}

fn count(end: End) {
    let end = match end {
        End::Whole => "whole",
        End::TooLong => "too_long",
        End::TooSlow => "too_slow",
    };
    metrics::counter!("relay_edge_unread_total", "end" => end).increment(1);
}

async fn read(mut body: impl Body<Data = Bytes> + Unpin, most: usize) -> End {
    let mut len = 0;
    while len <= most {
        let Some(Ok(frame)) = body.frame().await else {
            return End::Whole;
        };
        // Trailers are a piece as well.
        len += frame.data_ref().map_or(0, Bytes::len).max(PIECE_LEN_MIN);
    }
    End::TooLong
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream::iter;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    fn of_pieces(lens: &[usize]) -> impl Body<Data = Bytes> + Unpin {
        let pieces: Vec<_> = lens
            .iter()
            .map(|&len| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; len]))))
            .collect();
        StreamBody::new(iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_a_piece_past_what_is_owed() {
        assert_eq!(read(of_pieces(&[]), 0).await, End::Whole);
        assert_eq!(read(of_pieces(&[400, 600]), 1_000).await, End::Whole);
        assert_eq!(read(of_pieces(&[400, 700]), 1_000).await, End::TooLong);
        assert_eq!(read(of_pieces(&[1]), 0).await, End::TooLong);
    }

    #[tokio::test]
    async fn a_body_in_the_smallest_pieces_is_not_read_for_long() {
        assert_eq!(read(of_pieces(&[1; 4]), 4 * 256).await, End::Whole);
        assert_eq!(read(of_pieces(&[1; 5]), 4 * 256).await, End::TooLong);
    }
}

//! hyper as this edge uses it: every buffer, window and wait bounded.

use std::time::Duration;

use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio_util::sync::CancellationToken;

use super::settings::Settings;
use crate::runtime::{Cut, Shutdown};

tokio::task_local! {
    static STREAM: Stream;
}

/// What resets one HTTP/2 stream.
#[derive(Debug, Default)]
struct Stream {
    /// While its request is answered.
    request: CancellationToken,
    /// Once it is upgraded. hyper writes it in a task of its own then, which waits for room
    /// in the client's window and does not see that its writer is gone.
    upgraded: Cut,
}

/// What resets the HTTP/2 stream that the request at hand came on. None over HTTP/1.1,
/// where a request has its connection to itself.
pub(super) fn stream_of_this_request() -> Option<CancellationToken> {
    STREAM.try_with(|stream| stream.request.clone()).ok()
}

/// What resets that stream once it is upgraded, not while the request is answered: it may be
/// refused, and its answer is still to be written.
pub(super) fn upgraded_stream_of_this_request() -> Option<Cut> {
    STREAM.try_with(|stream| stream.upgraded.clone()).ok()
}

/// Where HTTP/2 runs its streams: in the tracker, so that the drain waits for them.
#[derive(Clone, Debug)]
pub(super) struct Spawner(Shutdown);

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        // A request's stream is begun by its connection, an upgraded one by its request.
        // Dropped, a stream resets itself.
        let cut = upgraded_stream_of_this_request().unwrap_or_default();
        let stream = Stream {
            request: cut.token(),
            ..Stream::default()
        };
        self.0.spawn(cut.around(STREAM.scope(stream, task)));
    }
}

pub(super) fn http1_builder(settings: &Settings) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // How long a head may take is ours to say (`Patience`), since it may change
        // while the connection is open; hyper's own timer only stands behind it.
        .header_read_timeout(HEADER_TIMEOUT_MAX)
        .max_headers(settings.headers_max)
        .max_header_size(settings.header_bytes_max)
        .max_buf_size(settings.header_bytes_max.max(HTTP1_BUFFER_MIN))
        // A client that closes its half is gone.
        .half_close(false);
    builder
}

pub(super) fn http2_builder(settings: &Settings, shutdown: &Shutdown) -> http2::Builder<Spawner> {
    let header_list = u32::try_from(settings.header_bytes_max).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(Spawner(shutdown.clone()));
    builder
        .timer(TokioTimer::new())
        // Subscriptions over HTTP/2 (RFC 8441).
        .enable_connect_protocol()
        .initial_stream_window_size(settings.h2_window_bytes)
        // All of it is one stream's, if it sends alone: what a connection may leave unread
        // is bounded all the same, and an upload is not slower than it must be.
        .initial_connection_window_size(settings.h2_window_bytes)
        .max_concurrent_streams(settings.h2_streams_max)
        .max_header_list_size(header_list)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .keep_alive_interval(settings.h2_ping_interval)
        .keep_alive_timeout(settings.h2_ping_timeout);
    builder
}

/// The most that may be set for an idle connection.
const HEADER_TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// hyper's own least.
const HTTP1_BUFFER_MIN: usize = 8192;

/// A stream's; a page of messages goes out in a few of these.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

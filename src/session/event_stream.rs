//! Server-sent events (HTML, section 9.2) as a session's line: an answer that does not
//! end. Each event is one frame of the JSON framing, its id the cursor to resume after.
//!
//! The session writes into a queue of one chunk, which the HTTP connection takes when
//! it has sent the one before; so a slow client is felt here as on a socket.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::line::Line;
use super::slow::Slow;
use super::{Meters, Settings};
use crate::events::Event;
use crate::runtime::{KernelPatience, Live};
use crate::types::Cursor;
use crate::wire::{Body, CloseReason, Framing, Notice, notice_frame};

/// The session's end.
pub(super) struct EventStream {
    chunks: mpsc::Sender<Bytes>,
    /// Nobody takes chunks any more.
    closed: BoxFuture<'static, ()>,
    settings: Live<Settings>,
    /// `None` where others than its client may be on the connection.
    kernel: Option<KernelPatience>,
    /// What had to wait.
    has_taken: bool,
}

impl EventStream {
    /// A stream, and the answer that carries it.
    pub(super) fn open(
        settings: Live<Settings>,
        kernel: Option<KernelPatience>,
    ) -> (Self, Response<Body>) {
        let (chunks, mut taken) = mpsc::channel(1);
        let body = stream::poll_fn(move |context| {
            let chunk = taken.poll_recv(context);
            chunk.map(|chunk: Option<Bytes>| chunk.map(|bytes| Ok(Frame::data(bytes))))
        });
        let mut response = Response::new(StreamBody::new(body).boxed());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // Proxies such as nginx would wait for the end otherwise, which does not come.
        let buffering = HeaderName::from_static("x-accel-buffering");
        headers.insert(buffering, HeaderValue::from_static("no"));
        let watched = chunks.clone();
        let stream = Self {
            chunks,
            closed: Box::pin(async move { watched.closed().await }),
            settings,
            kernel,
            has_taken: false,
        };
        (stream, response)
    }

    /// In small chunks: each has its time, so that a slow client is not a stalled one.
    async fn write(&mut self, mut bytes: Bytes) -> Result<(), CloseReason> {
        while !bytes.is_empty() {
            let chunk = bytes.split_to(bytes.len().min(CHUNK_LEN_MAX));
            let mut sending = pin!(self.chunks.send(chunk));
            let mut slow = None;
            let sent = poll_fn(|context| match sending.as_mut().poll(context) {
                Poll::Pending => Slow::poll(&mut slow, 0, &self.settings, context),
                sent => sent.map_err(|_| CloseReason::ClientGone),
            });
            sent.await?;
            self.has_taken |= slow.is_some();
        }
        Ok(())
    }
}

impl Line for EventStream {
    const ANSWERS_PINGS: bool = false;

    async fn write_events(
        &mut self,
        events: &[Arc<Event>],
        meters: &Meters,
    ) -> Result<(), CloseReason> {
        let mut chunk = Vec::new();
        for event in events {
            if let Some(frame) = event.frame(Framing::Json) {
                let cursor = event.is_stored().then(|| event.cursor());
                push(&mut chunk, cursor, None, frame.payload());
            }
        }
        meters.wrote(events.len(), chunk.len());
        self.write(chunk.into()).await
    }

    fn write_notice(&mut self, notice: &Notice) -> BoxFuture<'_, Result<(), CloseReason>> {
        let chunk = notice_frame(Framing::Json, notice).map(|frame| {
            let mut chunk = Vec::new();
            push(
                &mut chunk,
                cursor_of(notice),
                wait_of(notice),
                frame.payload(),
            );
            Bytes::from(chunk)
        });
        Box::pin(async move {
            let chunk = chunk.map_err(|_| CloseReason::Internal)?;
            self.write(chunk).await
        })
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, CloseReason>> {
        // Such a client says nothing; that it is gone is seen by nobody taking.
        let closed = self.closed.as_mut().poll(context);
        closed.map(|()| Err(CloseReason::ClientGone))
    }

    fn has_taken(&mut self) -> bool {
        std::mem::take(&mut self.has_taken)
    }

    async fn ping(&mut self, patience: Duration) -> Result<(), CloseReason> {
        // A heartbeat is not answered, but its bytes are.
        if let Some(kernel) = &self.kernel {
            kernel.limit_to(patience);
        }
        self.write(Bytes::from_static(HEARTBEAT)).await
    }

    async fn end(&mut self) {}

    async fn close(&mut self, _: CloseReason) {
        // What was said last says why. The answer ends with the session.
    }
}

/// The cursor of a client that comes back: what its browser remembers, which is later
/// than what its address says.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get("last-event-id")?.to_str().ok()?;
    (!id.is_empty()).then_some(id)
}

/// Where a client that hears this resumes.
fn cursor_of(notice: &Notice) -> Option<Cursor> {
    match notice {
        Notice::Gap(standings) | Notice::Synced(standings) => Some(standings.cursor),
        Notice::Error(error) => error.cursor,
        _ => None,
    }
}

/// When it should come back.
fn wait_of(notice: &Notice) -> Option<Duration> {
    match notice {
        Notice::Info(info) => info.reconnect_after,
        _ => None,
    }
}

/// One event. A JSON text has no line breaks, so it is one line of data.
fn push(into: &mut Vec<u8>, id: Option<Cursor>, retry: Option<Duration>, data: &[u8]) {
    if let Some(id) = id {
        into.extend_from_slice(b"id: ");
        into.extend_from_slice(id.expose().as_bytes());
        into.push(b'\n');
    }
    if let Some(retry) = retry {
        into.extend_from_slice(format!("retry: {}\n", retry.as_millis()).as_bytes());
    }
    into.extend_from_slice(b"data: ");
    into.extend_from_slice(data);
    into.extend_from_slice(b"\n\n");
}

/// At the least pace, sixteen seconds.
const CHUNK_LEN_MAX: usize = 16 << 10;

/// A comment: clients pass over it.
const HEARTBEAT: &[u8] = b": \n\n";

//! What one connection is while it is open, and when it counts as in use.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::activity::{Activity, Patience, RequestId, Verdict};
use super::http;
use crate::limits::ProvedHere;
use crate::runtime::{Held, KernelPatience};
use crate::types::ClientIp;
use crate::wire::Body;

/// What all requests of one connection share.
pub(super) struct Connection {
    pub(super) peer: IpAddr,
    /// Who answers for what is said on it, if that is limited.
    pub(super) offender: Option<ClientIp>,
    pub(super) held: Held,
    pub(super) proved: ProvedHere,
    pub(super) patience: KernelPatience,
    /// Requests refused since the last one that was not.
    refused: AtomicU32,
    /// It has asked for so long in spite of refusals that it must end.
    unwelcome: Notify,
    activity: Activity,
    since: Instant,
}

impl Connection {
    /// A connection whose handshake has just ended.
    pub(super) fn new(peer: IpAddr, offender: Option<ClientIp>, held: Held) -> Self {
        Self {
            peer,
            offender,
            held,
            proved: ProvedHere::default(),
            patience: KernelPatience::default(),
            refused: AtomicU32::new(0),
            unwelcome: Notify::new(),
            activity: Activity::default(),
            since: Instant::now(),
        }
    }

    /// A request was refused as one too many; with as many as `most` in a row, nobody wants to
    /// hear more.
    pub(super) fn note_refusal(&self, most: u32) {
        if self.refused.fetch_add(1, Ordering::Relaxed) + 1 >= most {
            self.unwelcome.notify_one();
        }
    }

    pub(super) fn note_answer(&self) {
        self.refused.store(0, Ordering::Relaxed);
    }

    pub(super) async fn is_unwelcome(&self) {
        self.unwelcome.notified().await;
    }

    pub(super) fn verdict(&self, patience: Patience) -> Verdict {
        self.activity.verdict(patience, self.since.elapsed())
    }

    /// Something was to be written: whether it found no room.
    pub(super) fn note_write(&self, is_blocked: bool) {
        self.activity.write(is_blocked, self.since.elapsed());
    }

    /// Ends those requests whose answers are not taken. False: the connection must end.
    pub(super) fn cut_stalled(&self, patience: Patience) -> bool {
        self.activity.cut_stalled(patience, self.since.elapsed())
    }
}

/// One request under way, until its answer is written or given up.
pub(super) struct InFlight {
    connection: Arc<Connection>,
    request: RequestId,
    /// Whether it came on a stream of its connection, and not alone.
    is_one_of_many: bool,
}

impl InFlight {
    pub(super) fn new(connection: &Arc<Connection>) -> Self {
        let stream = http::stream_of_this_request();
        Self {
            connection: Arc::clone(connection),
            is_one_of_many: stream.is_some(),
            request: connection.activity.begin(stream),
        }
    }

    /// A piece of the answer leaves us, or the answer has to wait for us.
    fn offer(&self, has_piece: bool) {
        let age = has_piece.then(|| self.connection.since.elapsed());
        self.connection.activity.offer(self.request, age);
    }

    /// Ties the end to a body's.
    pub(super) fn track(self, body: Body) -> Tracked {
        if let Some(len) = body.size_hint().exact() {
            let connection = &self.connection;
            let age = connection.since.elapsed();
            connection.activity.answer(self.request, age, len);
        }
        Tracked {
            body,
            in_flight: self,
            last: None,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection
            .activity
            .end(self.request, connection.since.elapsed());
    }
}

/// A response's body that counts as under way until it is written or given up.
pub(super) struct Tracked {
    body: Body,
    in_flight: InFlight,
    last: Option<Bytes>,
}

impl Tracked {
    /// Over HTTP/2, the end of a body is given once the client's window has room for what
    /// came before: once it has the end, hyper lets go of the body, and nobody would see
    /// that the client takes nothing.
    fn hold_end_back(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if !self.in_flight.is_one_of_many || !self.body.is_end_stream() {
            return frame;
        }
        match frame.into_data() {
            Ok(mut data) if data.len() > UNTRACKED_MAX => {
                self.last = Some(data.split_off(data.len() - 1));
                Frame::data(data)
            }
            Ok(data) => Frame::data(data),
            Err(trailers) => trailers,
        }
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match self.last.take() {
            Some(last) => Poll::Ready(Some(Ok(Frame::data(last)))),
            None => {
                let frame = Pin::new(&mut self.body).poll_frame(context);
                frame.map_ok(|frame| self.hold_end_back(frame))
            }
        };
        self.in_flight.offer(frame.is_ready());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.last.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.last {
            Some(last) => SizeHint::with_exact(last.len() as u64),
            None => self.body.size_hint(),
        }
    }
}

/// What a stream may leave in HTTP/2's hands unseen.
const UNTRACKED_MAX: usize = 256;

//! A WebSocket that writes shared frames as they are.
//!
//! Reading, control frames and the closing handshake are tungstenite's. Events go
//! past it, straight to the stream below: their frames are encoded already, with
//! headers, and shared by all recipients, so one vectored write hands a whole batch
//! to TLS, which makes one record of it, and nothing is copied or kept per session.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::AsyncWriteExt;
use tokio::task::coop;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{
    CloseFrame, Role, WebSocketConfig, WebSocketContext,
};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::bridge::Bridge;
use super::inlet::Inlet;
use super::line::Line;
use super::rest::Rest;
use super::slow::Slow;
use super::{Meters, Settings};
use crate::events::{Event, Sink, Written};
use crate::runtime::{Live, Transport};
use crate::wire::{CloseReason, Framing, Notice, notice_frame};

pub(super) struct Socket {
    inlet: Inlet<Transport>,
    protocol: WebSocketContext,
    framing: Framing,
    settings: Live<Settings>,
    /// A frame is written in part: nothing may follow it but its rest.
    torn: bool,
    /// The rest of what the hub wrote.
    unsent: Vec<u8>,
    /// Tungstenite may have something to write that must not be cut in half.
    owes: bool,
    /// The other end has taken what had to wait.
    has_taken: bool,
}

impl Socket {
    /// `begun` is what was read already of what the client sent after its handshake.
    /// The size of frames and the number of a message's pieces stay as they are now.
    pub(super) fn new(
        stream: Transport,
        mut begun: Vec<u8>,
        framing: Framing,
        settings: Live<Settings>,
    ) -> Self {
        let frame_len_max = settings.load().frame_len_max;
        // The default buffers cost 128 KiB a socket. Only control frames pass
        // through the write buffer.
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_LEN)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_LEN_MAX)
            .max_frame_size(Some(frame_len_max))
            .max_message_size(Some(frame_len_max));
        let fragments_max = settings.load().fragments_max;
        Self {
            inlet: Inlet::new(stream, &mut begun, fragments_max),
            protocol: WebSocketContext::from_partially_read(begun, Role::Server, Some(config)),
            framing,
            settings,
            torn: false,
            unsent: Vec::new(),
            owes: false,
            has_taken: false,
        }
    }

    /// What this session writes of an event.
    fn bytes_of_events(&self) -> fn(&Arc<Event>) -> &[u8] {
        match self.framing {
            Framing::DagCbor => |event| frame_of(event, Framing::DagCbor),
            Framing::Json => |event| frame_of(event, Framing::Json),
        }
    }

    /// Writes what tungstenite has begun to write.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), CloseReason>> {
        if !self.owes {
            return Poll::Ready(Ok(()));
        }
        let mut bridge = Bridge::new(&mut self.inlet, context);
        match self.protocol.flush(&mut bridge) {
            Ok(()) => {
                self.owes = false;
                Poll::Ready(Ok(()))
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(_) => Poll::Ready(Err(CloseReason::ClientGone)),
        }
    }

    /// Gives tungstenite a frame of its own to write, as much as the stream takes.
    async fn put(&mut self, message: Message) -> Result<(), CloseReason> {
        let (mut message, mut slow) = (Some(message), None);
        self.owes = true;
        poll_fn(|context| {
            if let Some(message) = message.take() {
                let mut bridge = Bridge::new(&mut self.inlet, context);
                match self.protocol.write(&mut bridge, message) {
                    Ok(()) => {}
                    // It is in the buffer.
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(Err(CloseReason::ClientGone)),
                }
            }
            match self.poll_flush(context) {
                Poll::Pending => Slow::poll(&mut slow, 0, &self.settings, context),
                done => done,
            }
        })
        .await
    }

    /// Writes whole frames, back to back, in as few writes as the stream allows.
    async fn write<T>(&mut self, mut rest: Rest<'_, T>) -> Result<(), CloseReason> {
        let mut slow = None;
        poll_fn(|context| match self.poll_write(&mut rest, context) {
            Poll::Pending => Slow::poll(&mut slow, rest.taken(), &self.settings, context),
            done => {
                // Here, where the session is at hand: its future keeps no second pointer to it.
                self.has_taken |= slow.is_some();
                done
            }
        })
        .await
    }

    fn poll_write<T>(
        &mut self,
        rest: &mut Rest<'_, T>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), CloseReason>> {
        if !self.torn {
            // What tungstenite has begun to write must not be cut in half.
            ready!(self.poll_flush(context))?;
            self.torn = true;
        }
        ready!(rest.poll_write(Pin::new(&mut self.inlet.stream), context))
            .map_err(|_| CloseReason::ClientGone)?;
        self.torn = false;
        Poll::Ready(Ok(()))
    }

    /// Sends a close frame and waits for its answer. Whether the client goes on instead.
    async fn say_goodbye(&mut self, reason: CloseReason) -> bool {
        let frame = CloseFrame {
            code: CloseCode::from(reason.code()),
            reason: reason.name().into(),
        };
        let said = self.put(Message::Close(Some(frame))).await;
        if said.is_err() || reason.expects_no_answer() {
            return false;
        }
        // Of one that goes on instead of answering, the rest is let go unread.
        for _ in 0..self.settings.load().last_messages_max {
            if poll_fn(|context| self.poll_read(context)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// What tungstenite has to say goes out, and then TLS ends in order. The other end may
    /// be gone already.
    async fn finish(&mut self) {
        if self.torn {
            // Nothing may follow half a frame, and whoever took no more is gone.
            return;
        }
        let limit = self.settings.load().close_timeout;
        let end = async {
            let _ = poll_fn(|context| self.poll_flush(context)).await;
            let _ = self.inlet.stream.shutdown().await;
        };
        let _ = timeout(limit, end).await;
    }
}

impl Sink for Socket {
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written {
        // Nobody waits here: the session asks again for what is left.
        let context = &mut Context::from_waker(Waker::noop());
        let bytes = self.bytes_of_events();
        let mut rest = Rest::new(events, bytes);
        let written = rest.poll_write(Pin::new(&mut self.inlet.stream), context);
        self.torn = !matches!(written, Poll::Ready(Ok(())));
        if self.torn {
            self.unsent = rest.to_vec();
        }
        Written {
            bytes: events.iter().map(|event| bytes(event).len()).sum(),
            is_whole: !self.torn,
        }
    }
}

impl Line for Socket {
    const ANSWERS_PINGS: bool = true;

    fn lend(self: Box<Self>) -> Result<Box<dyn Sink>, Box<Self>> {
        match self.torn || self.owes {
            true => Err(self),
            false => Ok(self),
        }
    }

    fn is_torn(&self) -> bool {
        self.torn
    }

    fn mend(&mut self) -> BoxFuture<'_, Result<(), CloseReason>> {
        let unsent = [std::mem::take(&mut self.unsent)];
        Box::pin(async move { self.write(Rest::new(&unsent, |rest| rest)).await })
    }

    fn has_taken(&mut self) -> bool {
        std::mem::take(&mut self.has_taken)
    }

    async fn write_events(
        &mut self,
        events: &[Arc<Event>],
        meters: &Meters,
    ) -> Result<(), CloseReason> {
        let bytes = self.bytes_of_events();
        self.write(Rest::new(events, bytes)).await?;
        let len = events.iter().map(|event| bytes(event).len()).sum();
        meters.wrote(events.len(), len);
        Ok(())
    }

    fn write_notice(&mut self, notice: &Notice) -> BoxFuture<'_, Result<(), CloseReason>> {
        let frame = notice_frame(self.framing, notice);
        Box::pin(async move {
            let frame = frame.map_err(|_| CloseReason::Internal)?;
            let frame = std::slice::from_ref(&frame);
            self.write(Rest::new(frame, |frame| frame.bytes())).await
        })
    }

    /// Control frames included.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, CloseReason>> {
        // One read of a connection brings thousands of the smallest frames: each takes of the
        // task's turn, so that whoever floods its own socket holds nobody else up.
        let turn = ready!(coop::poll_proceed(context));
        let mut bridge = Bridge::new(&mut self.inlet, context);
        let read = match self.protocol.read(&mut bridge) {
            Ok(message) => {
                // These have an answer, which leaves with the next read or write.
                self.owes |= matches!(message, Message::Ping(_) | Message::Close(_));
                Ok(message)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Poll::Pending;
            }
            Err(Error::Capacity(_)) => Err(CloseReason::FrameTooLarge),
            // The stream has ended: a phone out of reach says no goodbye.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                Err(CloseReason::ClientGone)
            }
            Err(Error::Protocol(_)) => Err(CloseReason::ProtocolError),
            Err(Error::Utf8(_)) => Err(CloseReason::InvalidPayload),
            Err(_) if self.inlet.is_torn_to_pieces() => Err(CloseReason::FrameTooLarge),
            Err(_) => Err(CloseReason::ClientGone),
        };
        turn.made_progress();
        Poll::Ready(read)
    }

    async fn ping(&mut self, _: Duration) -> Result<(), CloseReason> {
        self.put(Message::Ping(bytes::Bytes::new())).await
    }

    /// Says goodbye and waits a moment for the answer, so that what was written
    /// last arrives before the connection goes.
    async fn close(&mut self, reason: CloseReason) {
        if self.torn {
            // The connection breaks, and the client resumes from its cursor.
            return;
        }
        let limit = self.settings.load().close_timeout;
        let goes_on = timeout(limit, self.say_goodbye(reason)).await;
        self.finish().await;
        if reason.fails_the_protocol() || goes_on == Ok(true) {
            // A connection that is closed with something unread is reset, and what was
            // said is lost on its way (RFC 6455 section 7.1.1).
            let _ = timeout(limit, self.inlet.discard()).await;
        }
    }

    /// A client that said goodbye hears the answer. One that left without hears nothing: to end
    /// a stream of HTTP/2 in order would keep for it what it never took.
    async fn end(&mut self) {
        if self.owes {
            self.finish().await;
        }
    }
}

fn frame_of(event: &Event, framing: Framing) -> &[u8] {
    event.frame(framing).map_or(&[], |frame| frame.bytes())
}

/// Every socket holds this for ever. Client frames are small, a longer one makes the
/// buffer grow for a moment, and no read of it is a system call.
const READ_BUFFER_LEN: usize = 128;
/// Pongs, pings and one close frame.
const WRITE_BUFFER_LEN_MAX: usize = 4096;

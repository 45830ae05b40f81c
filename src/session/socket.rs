//! A WebSocket that writes shared frames as they are.
//!
//! Reading, control frames and the closing handshake are tungstenite's. Events go
//! past it, straight to the stream below: their frames are encoded already, with
//! headers, and shared by all recipients, so one vectored write hands a whole batch
//! to TLS, which makes one record of it, and nothing is copied or kept per session.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::Settings;
use super::inlet::Inlet;
use crate::wire::CloseReason;

pub(super) struct Socket<S> {
    stream: WebSocketStream<Inlet<S>>,
    write_timeout: Duration,
    close_timeout: Duration,
    /// A frame is written in part: nothing may follow it but its rest.
    torn: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(stream: S, settings: &Settings) -> Self {
        // The default buffers cost 128 KiB a socket. Only control frames pass
        // through the write buffer.
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_LEN)
            .write_buffer_size(0)
            .max_write_buffer_size(WRITE_BUFFER_LEN_MAX)
            .max_frame_size(Some(settings.frame_len_max))
            .max_message_size(Some(settings.frame_len_max));
        let inlet = Inlet::new(stream, settings.fragments_max);
        Self {
            stream: WebSocketStream::from_raw_socket(inlet, Role::Server, Some(config)).await,
            write_timeout: settings.write_timeout,
            close_timeout: settings.close_timeout,
            torn: false,
        }
    }

    /// The next message, control frames included. Cancel-safe.
    pub(super) async fn read(&mut self) -> Result<Message, CloseReason> {
        match self.stream.next().await {
            Some(Ok(message)) => Ok(message),
            Some(Err(Error::Capacity(_))) => Err(CloseReason::FrameTooLarge),
            Some(Err(Error::Protocol(_) | Error::Utf8(_))) => Err(CloseReason::ProtocolError),
            Some(Err(_)) if self.stream.get_ref().is_torn_to_pieces() => {
                Err(CloseReason::FrameTooLarge)
            }
            Some(Err(_)) | None => Err(CloseReason::ClientGone),
        }
    }

    /// Writes whole frames, back to back, in as few writes as the stream allows.
    pub(super) async fn write(&mut self, frames: &[&[u8]]) -> Result<(), CloseReason> {
        let limit = self.write_timeout;
        let (stream, torn) = (&mut self.stream, &mut self.torn);
        let write = async {
            // What tungstenite has begun to write must not be cut in half.
            stream.flush().await.map_err(|_| CloseReason::ClientGone)?;
            let stream = stream.get_mut();
            let mut rest = Rest::new(frames);
            *torn = true;
            poll_fn(|context| rest.poll_write(Pin::new(&mut *stream), context))
                .await
                .map_err(|_| CloseReason::ClientGone)?;
            *torn = false;
            Ok(())
        };
        within(limit, write).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), CloseReason> {
        let limit = self.write_timeout;
        let ping = self.stream.send(Message::Ping(bytes::Bytes::new()));
        let write = async { ping.await.map_err(|_| CloseReason::ClientGone) };
        within(limit, write).await
    }

    /// Says goodbye and waits a moment for the answer, so that what was written
    /// last arrives before the connection goes.
    pub(super) async fn close(&mut self, reason: CloseReason) {
        if self.torn {
            // The connection breaks, and the client resumes from its cursor.
            return;
        }
        let frame = CloseFrame {
            code: CloseCode::from(reason.code()),
            reason: reason.name().into(),
        };
        let farewell = async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        };
        let _ = timeout(self.close_timeout, farewell).await;
        self.end().await;
    }

    /// The client said goodbye: what tungstenite answers goes out, and then TLS ends
    /// in order. The other end may be gone already.
    pub(super) async fn end(&mut self) {
        let end = async {
            let _ = self.stream.flush().await;
            let _ = self.stream.get_mut().shutdown().await;
        };
        let _ = timeout(self.close_timeout, end).await;
    }
}

/// Sets a deadline, but only on a write that has to wait: most are taken at once,
/// and a timer for each would cost more than the write.
async fn within<F>(limit: Duration, write: F) -> Result<(), CloseReason>
where
    F: Future<Output = Result<(), CloseReason>>,
{
    let mut write = pin!(write);
    let first = poll_fn(|context| Poll::Ready(write.as_mut().poll(context)));
    if let Poll::Ready(done) = first.await {
        return done;
    }
    // Boxed: no timer lies in a session that does not wait.
    let mut deadline = Box::pin(sleep(limit));
    poll_fn(|context| match write.as_mut().poll(context) {
        Poll::Pending => deadline
            .as_mut()
            .poll(context)
            .map(|()| Err(CloseReason::ConsumerTooSlow)),
        done => done,
    })
    .await
}

/// What is left to write.
struct Rest<'a> {
    frames: &'a [&'a [u8]],
    /// How much of the first frame is written.
    written: usize,
}

impl<'a> Rest<'a> {
    fn new(frames: &'a [&'a [u8]]) -> Self {
        Self { frames, written: 0 }
    }

    fn poll_write<S: AsyncWrite>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(first) = self.frames.first() {
            // On the stack of this poll only, not in the session.
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.frames.len().min(SLICES_MAX);
            for (slice, frame) in slices.iter_mut().zip(self.frames) {
                *slice = IoSlice::new(frame);
            }
            slices[0] = IoSlice::new(first.get(self.written..).unwrap_or_default());
            let slices = slices.get(..count).unwrap_or_default();
            match ready!(stream.as_mut().poll_write_vectored(context, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.skip(len),
            }
        }
        stream.poll_flush(context)
    }

    fn skip(&mut self, mut len: usize) {
        while let Some((first, rest)) = self.frames.split_first() {
            let left = first.len() - self.written;
            if len < left {
                self.written += len;
                return;
            }
            len -= left;
            self.written = 0;
            self.frames = rest;
        }
    }
}

/// Client frames are small; a longer one makes the buffer grow for a moment.
const READ_BUFFER_LEN: usize = 1024;
/// Pongs, pings and one close frame.
const WRITE_BUFFER_LEN_MAX: usize = 4096;
/// As many frames as the hub's queue gives at once.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that takes little at a time, from several slices.
    struct Trickle(Vec<u8>);

    impl AsyncWrite for Trickle {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let len = all.len().min(7);
            self.0.extend(&all[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn frames_survive_a_stream_that_takes_little_at_a_time() {
        let frames: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; usize::from(n % 9)]).collect();
        let slices: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut stream = Trickle(Vec::new());
        let mut rest = Rest::new(&slices);
        let context = &mut Context::from_waker(std::task::Waker::noop());
        let done = rest.poll_write(Pin::new(&mut stream), context);
        assert!(matches!(done, Poll::Ready(Ok(()))));
        assert_eq!(stream.0, frames.concat());
    }
}

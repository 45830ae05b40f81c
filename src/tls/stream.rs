//! A TLS connection that holds no buffer while nothing is under way.
//!
//! A record that is being read or written lies in a buffer that all connections of a
//! thread share; it moves into the connection only if the peer has sent half of it or does
//! not take all of it. An idle connection is thus its keys and nothing else, where rustls'
//! buffered interface holds 4 KiB for the next read.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

use super::records::{PLAIN_LEN_MAX, RECORD_LEN_MAX, Records};
use crate::runtime::{Duplex, wait_for_room};
use crate::types::unprintable;

/// See the module.
pub struct TlsStream {
    tcp: TcpStream,
    records: Records,
}

unprintable!(TlsStream);

/// Why there is no TLS on a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Failed(#[from] io::Error),
    /// It is answered, but who speaks it may be sending still.
    #[error("a request in plain HTTP")]
    Http(TcpStream),
}

impl TlsStream {
    /// Answers a handshake, of which `begun` was read already. The caller sets the
    /// deadline.
    pub(super) async fn accept(
        config: Arc<ServerConfig>,
        tcp: TcpStream,
        begun: Vec<u8>,
    ) -> Result<Self, HandshakeError> {
        let mut stream = Self {
            tcp,
            records: Records::new(config)?,
        };
        match stream.shake_hands(begun).await {
            Ok(()) => Ok(stream),
            Err(_) if stream.records.has_answered_http() => Err(HandshakeError::Http(stream.tcp)),
            Err(error) => Err(error.into()),
        }
    }

    async fn shake_hands(&mut self, mut begun: Vec<u8>) -> io::Result<()> {
        if !begun.is_empty() {
            let taken = self.records.take(&mut begun);
            poll_fn(|context| self.poll_drain(context)).await?;
            taken?;
        }
        poll_fn(|context| self.poll_handshake(context)).await
    }

    /// The protocol that both sides chose.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.records.alpn_protocol()
    }

    /// Whether the handshake was full or resumed an earlier one, for a metric.
    pub fn handshake_name(&self) -> &'static str {
        match self.records.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            _ => "full",
        }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.records.is_handshaking() {
            ready!(self.poll_drain(context))?;
            if self.records.has_ended() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fill(context))?;
        }
        self.poll_drain(context)
    }

    /// Reads what the socket has, once, and decrypts it.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.records.is_broken() {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        RECEIVED.with_borrow_mut(|received| {
            let kept = self.records.partial().len();
            received[..kept].copy_from_slice(self.records.partial());
            let mut free = ReadBuf::new(&mut received[kept..]);
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut free))?;
            let came = free.filled().len();
            if came == 0 {
                // Without a goodbye, the end may be somebody else's doing.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let taken = self.records.take(&mut received[..kept + came]);
            // What the protocol has to say to that, an alert for one, leaves with
            // what is written next, or now if there is room.
            if let Poll::Ready(Err(error)) = self.poll_drain(context) {
                return Poll::Ready(Err(error));
            }
            Poll::Ready(taken)
        })
    }

    /// Sends what waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let unsent = &mut self.records.unsent;
        while !unsent.is_empty() {
            let sent = Pin::new(&mut self.tcp).poll_write(context, unsent);
            if sent.is_pending() {
                wait_for_room(&self.tcp);
            }
            match ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => unsent.advance(sent),
            }
            if unsent.is_empty() {
                *unsent = BytesMut::new();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the record before has left.
    fn poll_room(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(context))?;
        // As the runtime's own sockets do: a task with much to write lets others run.
        ready!(coop::poll_proceed(context)).made_progress();
        Poll::Ready(Ok(()))
    }

    /// Encrypts one record and sends as much of it as the peer takes.
    fn seal(&mut self, plain: &[u8]) -> io::Result<()> {
        SEALED.with_borrow_mut(|sealed| {
            let len = self.records.seal(plain, sealed)?;
            let mut record = &sealed[..len];
            // What the protocol had to say by itself comes first.
            if self.records.unsent.is_empty() {
                record = &record[send(&self.tcp, record)?..];
            }
            // Whoever writes flushes, and is told then when there is room again.
            self.records.unsent.extend_from_slice(record);
            Ok(())
        })
    }
}

/// Sends as much as there is room for, which may be nothing. Nearly always there is room:
/// the socket is asked itself, and not what the runtime knows of it, which lies elsewhere in
/// memory and is only needed to wait.
fn send(tcp: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::send(tcp, bytes, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            sent => return Ok(sent?),
        }
    }
}

impl Duplex for TlsStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(&self.tcp)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.records.unread.is_empty() {
            if stream.records.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(stream.poll_fill(context))?;
        }
        let unread = &mut stream.records.unread;
        let count = unread.len().min(into.remaining());
        into.put_slice(&unread.split_to(count));
        if unread.is_empty() {
            *unread = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        ready!(stream.poll_room(context))?;
        let plain = &plain[..plain.len().min(PLAIN_LEN_MAX)];
        if !plain.is_empty() {
            stream.seal(plain)?;
        }
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut full = slices.iter().filter(|slice| !slice.is_empty());
        let (Some(first), second) = (full.next(), full.next()) else {
            return Poll::Ready(Ok(0));
        };
        // One slice, or a long first one, makes a record without a copy.
        if second.is_none() || first.len() >= PLAIN_LEN_MAX {
            return self.poll_write(context, first);
        }
        let stream = self.get_mut();
        ready!(stream.poll_room(context))?;
        GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            for slice in slices {
                let room = PLAIN_LEN_MAX - gathered.len();
                gathered.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            stream.seal(gathered)?;
            Poll::Ready(Ok(gathered.len()))
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_drain(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        stream.records.end()?;
        ready!(stream.poll_drain(context))?;
        Pin::new(&mut stream.tcp).poll_shutdown(context)
    }
}

thread_local! {
    /// Part of a record that waited, and what one read brings.
    static RECEIVED: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; 2 * RECORD_LEN_MAX].into_boxed_slice());
    static SEALED: RefCell<Box<[u8]>> = RefCell::new(vec![0; RECORD_LEN_MAX].into_boxed_slice());
    static GATHERED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(PLAIN_LEN_MAX));
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

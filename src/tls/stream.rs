//! A TLS connection that holds no buffer while nothing is under way.
//!
//! rustls speaks the protocol, through its unbuffered interface: it keeps no bytes,
//! and we keep only those that must wait. A record that is being read or written
//! lies in a buffer that all connections of a thread share; it moves into the
//! connection only if the peer has sent half of it or does not take all of it. An
//! idle connection is thus its keys and nothing else, where the buffered interface
//! holds 4 KiB for the next read.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::coop;

/// See the module.
pub struct TlsStream {
    tcp: TcpStream,
    /// Boxed: it is over a kilobyte, and every future that holds the stream on its
    /// way would be larger by that.
    tls: Box<UnbufferedServerConnection>,
    /// The first part of a record, or of a message over several records, whose rest has
    /// not come. rustls remembers places in it: it is told these bytes each time.
    partial: BytesMut,
    /// Decrypted, and more than the reader asked for.
    unread: BytesMut,
    /// Encrypted, and more than the peer takes. At most one record, and what the
    /// protocol itself has to say.
    unsent: BytesMut,
    /// The peer has said goodbye: nothing more comes.
    ended: bool,
    /// We have said goodbye.
    closed: bool,
    /// A side broke the rules. rustls is not asked again: what it remembers of the bytes
    /// that came holds no more.
    broken: bool,
}

impl TlsStream {
    /// Answers a handshake, of which `begun` was read already. The caller sets the
    /// deadline.
    pub(super) async fn accept(
        config: Arc<ServerConfig>,
        tcp: TcpStream,
        mut begun: Vec<u8>,
    ) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut stream = Self {
            tcp,
            tls: Box::new(tls),
            partial: BytesMut::new(),
            unread: BytesMut::new(),
            unsent: BytesMut::new(),
            ended: false,
            closed: false,
            broken: false,
        };
        if !begun.is_empty() {
            let processed = stream.process(&mut begun, |_| ());
            poll_fn(|context| stream.poll_drain(context)).await?;
            let (done, _) = processed?;
            stream.partial = BytesMut::from(begun.get(done..).unwrap_or_default());
        }
        poll_fn(|context| stream.poll_handshake(context)).await?;
        Ok(stream)
    }

    /// The protocol that both sides chose.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Whether the handshake was full or resumed an earlier one, for a metric.
    pub fn handshake_name(&self) -> &'static str {
        match self.tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => "resumed",
            _ => "full",
        }
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_drain(context))?;
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_fill(context))?;
        }
        self.poll_drain(context)
    }

    /// Reads what the socket has, once, and decrypts it.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        RECEIVED.with_borrow_mut(|received| {
            let kept = self.partial.len();
            received[..kept].copy_from_slice(&self.partial);
            let mut free = ReadBuf::new(&mut received[kept..]);
            ready!(Pin::new(&mut self.tcp).poll_read(context, &mut free))?;
            let came = free.filled().len();
            if came == 0 {
                // Without a goodbye, the end may be somebody else's doing.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let received = &mut received[..kept + came];
            let processed = self.process(received, |_| ());
            // What the protocol has to say to that, an alert for one, leaves with
            // what is written next, or now if there is room.
            if let Poll::Ready(Err(error)) = self.poll_drain(context) {
                return Poll::Ready(Err(error));
            }
            let (done, _) = processed?;
            let rest = &received[done..];
            if rest.len() > RECORD_LEN_MAX {
                self.broken = true;
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            self.partial = BytesMut::from(rest);
            Poll::Ready(Ok(()))
        })
    }

    /// Lets rustls take what came, as far as it is whole, and calls `at_rest` when it
    /// has nothing more to do and may send. Returns how much it took.
    fn process<T>(
        &mut self,
        received: &mut [u8],
        at_rest: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> T,
    ) -> io::Result<(usize, Option<T>)> {
        if self.broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let processed = self.process_whole(received, at_rest);
        self.broken = processed.is_err();
        processed
    }

    /// As `process`, for what came before.
    fn process_partial<T>(
        &mut self,
        at_rest: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> T,
    ) -> io::Result<Option<T>> {
        let mut partial = std::mem::take(&mut self.partial);
        let (done, outcome) = self.process(&mut partial, at_rest)?;
        partial.advance(done);
        self.partial = partial;
        Ok(outcome)
    }

    fn process_whole<T>(
        &mut self,
        received: &mut [u8],
        at_rest: impl FnOnce(WriteTraffic<'_, ServerConnectionData>) -> T,
    ) -> io::Result<(usize, Option<T>)> {
        let mut taken = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut received[taken..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(io::Error::other)?;
                        discard += record.discard;
                        self.unread.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |free| data.encode(free))?;
                }
                // It lies in `unsent`, which leaves before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    return Ok((taken + discard, Some(at_rest(traffic))));
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => {
                    return Ok((taken + discard, None));
                }
                // Early data is refused by the configuration.
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => {
                    self.take_alert();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
            taken += discard;
        }
    }

    /// The last word of a connection that broke the rules.
    fn take_alert(&mut self) {
        // It hands out what it has to say before it looks at what came, which it must not.
        while self.tls.wants_write() {
            let Ok(ConnectionState::EncodeTlsData(mut data)) =
                self.tls.process_tls_records(&mut []).state
            else {
                return;
            };
            if encode(&mut self.unsent, |free| data.encode(free)).is_err() {
                return;
            }
        }
    }

    /// Sends what waits.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let tcp = Pin::new(&mut self.tcp);
            match ready!(tcp.poll_write(context, &self.unsent))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.unsent.advance(sent),
            }
            if self.unsent.is_empty() {
                self.unsent = BytesMut::new();
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
            let written = self.process_partial(|mut traffic| traffic.encrypt(plain, sealed))?;
            let written = written.ok_or(io::ErrorKind::NotConnected)?;
            let written = written.map_err(io::Error::other)?;
            let mut record = &sealed[..written];
            // What the protocol had to say by itself comes first.
            if self.unsent.is_empty() {
                record = &record[send(&self.tcp, record)?..];
            }
            // Whoever writes flushes, and is told then when there is room again.
            self.unsent.extend_from_slice(record);
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

/// Grows the buffer by what the encoder asks for.
fn encode(
    unsent: &mut BytesMut,
    mut encoder: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let begin = unsent.len();
    let mut written = encoder(&mut []);
    if let Err(EncodeError::InsufficientSize(needed)) = written {
        unsent.resize(begin + needed.required_size, 0);
        written = encoder(&mut unsent[begin..]);
    }
    let written = written.map_err(io::Error::other)?;
    unsent.truncate(begin + written);
    Ok(())
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = self.get_mut();
        while stream.unread.is_empty() {
            if stream.ended {
                return Poll::Ready(Ok(()));
            }
            ready!(stream.poll_fill(context))?;
        }
        let count = stream.unread.len().min(into.remaining());
        into.put_slice(&stream.unread.split_to(count));
        if stream.unread.is_empty() {
            stream.unread = BytesMut::new();
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
        if !stream.closed && !stream.broken {
            stream.closed = true;
            let goodbye = stream.process_partial(|mut traffic| {
                let mut goodbye = [0; GOODBYE_LEN_MAX];
                traffic
                    .queue_close_notify(&mut goodbye)
                    .map(|len| (goodbye, len))
            })?;
            if let Some(Ok((goodbye, len))) = goodbye {
                stream.unsent.extend_from_slice(&goodbye[..len]);
            }
        }
        ready!(stream.poll_drain(context))?;
        Pin::new(&mut stream.tcp).poll_shutdown(context)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsStream")
    }
}

/// Plaintext of one record (RFC 8446 section 5.1).
const PLAIN_LEN_MAX: usize = 1 << 14;
/// A record: header, and 256 bytes for the seal in TLS 1.3, 2048 in TLS 1.2
/// (RFC 5246 section 6.2.3).
const RECORD_LEN_MAX: usize = 5 + PLAIN_LEN_MAX + 2048;
/// An alert is two bytes in a record of their own.
const GOODBYE_LEN_MAX: usize = 128;

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

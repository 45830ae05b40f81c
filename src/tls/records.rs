//! Pure. The records of one TLS connection: ciphertext in, plaintext out, and back.
//!
//! rustls speaks the protocol through its unbuffered interface. It keeps no bytes, but
//! remembers places in those it was shown: whatever it has not taken must be shown again
//! each time, and nothing after a breach of the rules.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus, WriteTraffic};
use rustls::{HandshakeKind, ServerConfig};

use super::plain_http;

/// See the module.
pub(super) struct Records {
    /// Boxed: it is over a kilobyte, and every future that holds the stream on its
    /// way would be larger by that.
    tls: Box<UnbufferedServerConnection>,
    /// The first part of a record, or of a message over several, whose rest has not come.
    partial: BytesMut,
    /// Decrypted, and more than the reader asked for.
    pub(super) unread: BytesMut,
    /// Encrypted, and more than the peer takes. At most one record, and what the
    /// protocol itself has to say.
    pub(super) unsent: BytesMut,
    /// The peer has said goodbye: nothing more comes.
    ended: bool,
    /// We have said goodbye: nothing more is said, and nothing listened to.
    left: bool,
    /// Somebody broke the rules: what rustls remembers holds no more.
    broken: bool,
    /// It spoke plain HTTP, and has its answer.
    answered_http: bool,
}

impl Records {
    pub(super) fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self {
            tls: Box::new(tls),
            partial: BytesMut::new(),
            unread: BytesMut::new(),
            unsent: BytesMut::new(),
            ended: false,
            left: false,
            broken: false,
            answered_http: false,
        })
    }

    /// The protocol that both sides chose.
    pub(super) fn alpn_protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    pub(super) fn handshake_kind(&self) -> Option<HandshakeKind> {
        self.tls.handshake_kind()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn has_answered_http(&self) -> bool {
        self.answered_http
    }

    /// What `take` has to be given again, before what comes next.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes what came, as far as it is whole. After an error, `unsent` may hold an alert, or an
    /// answer in plain HTTP. What comes after our goodbye is let go: of a fault in it rustls would
    /// have to tell, and asserts that it has not said its last word yet.
    pub(super) fn take(&mut self, received: &mut [u8]) -> io::Result<()> {
        if self.left {
            self.partial = BytesMut::new();
            return Ok(());
        }
        let (done, _) = self.process(received, |_| ()).inspect_err(|_| {
            if let Some(answer) = plain_http::answer_to(received)
                && self.is_handshaking()
            {
                self.unsent = BytesMut::from(answer);
                self.answered_http = true;
            }
        })?;
        let rest = &received[done..];
        if rest.len() > RECORD_LEN_MAX {
            self.broken = true;
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.partial = BytesMut::from(rest);
        Ok(())
    }

    /// Encrypts one record, of which it gives the length.
    pub(super) fn seal(&mut self, plain: &[u8], sealed: &mut [u8]) -> io::Result<usize> {
        if self.left {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let written = self.process_partial(|mut traffic| traffic.encrypt(plain, sealed))?;
        let written = written.ok_or(io::ErrorKind::NotConnected)?;
        written.map_err(io::Error::other)
    }

    /// Says that nothing more comes from us, once, unless nobody would believe it.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.broken || self.left {
            return Ok(());
        }
        let mut goodbye = [0; GOODBYE_LEN_MAX];
        let written =
            self.process_partial(|mut traffic| traffic.queue_close_notify(&mut goodbye))?;
        self.left = true;
        if let Some(Ok(len)) = written {
            self.unsent.extend_from_slice(&goodbye[..len]);
        }
        Ok(())
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

/// Plaintext of one record (RFC 8446 section 5.1).
pub(super) const PLAIN_LEN_MAX: usize = 1 << 14;
/// A record: header, and 256 bytes for the seal in TLS 1.3, 2048 in TLS 1.2
/// (RFC 5246 section 6.2.3).
pub(super) const RECORD_LEN_MAX: usize = 5 + PLAIN_LEN_MAX + 2048;
/// An alert is two bytes in a record of their own.
const GOODBYE_LEN_MAX: usize = 128;

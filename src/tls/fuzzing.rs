//! The way in for `fuzz/`: the relay's side of a connection, without its socket.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::cipher_suites;
use super::records::{PLAIN_LEN_MAX, RECORD_LEN_MAX, Records};
use super::test_configs;

/// The relay's suites, and a client of rustls' own that trusts its certificate for
/// [`localhost`].
pub fn configs() -> (ServerConfig, ClientConfig) {
    test_configs::configs(cipher_suites::provider(), default_provider())
}

pub fn localhost() -> ServerName<'static> {
    test_configs::localhost()
}

/// More may not wait for its rest.
pub const PARTIAL_LEN_MAX: usize = RECORD_LEN_MAX;

/// What reads and writes a connection's records.
pub struct Server(Records);

impl Server {
    pub fn new(config: Arc<ServerConfig>) -> io::Result<Self> {
        Records::new(config).map(Self)
    }

    /// Takes what came, behind what came by half before.
    pub fn take(&mut self, came: &[u8]) -> io::Result<()> {
        if self.0.is_broken() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut received = [self.0.partial(), came].concat();
        self.0.take(&mut received)
    }

    /// What was said to it since this was asked last.
    pub fn heard(&mut self) -> BytesMut {
        std::mem::take(&mut self.0.unread)
    }

    /// What it has to send since this was asked last.
    pub fn sent(&mut self) -> BytesMut {
        std::mem::take(&mut self.0.unsent)
    }

    /// Says something, as far as it fits one record: how much of it.
    pub fn say(&mut self, plain: &[u8]) -> io::Result<usize> {
        let plain = &plain[..plain.len().min(PLAIN_LEN_MAX)];
        let mut sealed = vec![0; RECORD_LEN_MAX];
        let len = self.0.seal(plain, &mut sealed)?;
        self.0.unsent.extend_from_slice(&sealed[..len]);
        Ok(plain.len())
    }

    /// Says goodbye.
    pub fn end(&mut self) -> io::Result<()> {
        self.0.end()
    }

    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Whether the client has said goodbye.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    pub fn is_broken(&self) -> bool {
        self.0.is_broken()
    }

    /// How many bytes wait for their rest.
    pub fn partial_len(&self) -> usize {
        self.0.partial().len()
    }
}

//! Where a relay is and how to trust it: what every client needs to know, and
//! the TLS connection that every client starts with.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::ParseIntError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Long enough for a busy machine, short enough to notice a relay that is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a segment on the internet: the relay's system sizes its own buffer by them.
const SEGMENT: u32 = 1400;

/// Bytes that wait unread on the client's side; its system takes twice as many.
const RECEIVE_BUFFER: u32 = 2048;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot reach the relay")]
    Io(#[from] io::Error),
    #[error("the relay did not finish the TLS handshake in time")]
    Deadline,
    #[error("the certificate file cannot be used")]
    Certificate(#[source] rustls::Error),
    #[error("the certificates of {} cannot be read", .path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("there is no certificate in {}", .0.display())]
    NoRoots(PathBuf),
    #[error("the relay's address is not https://HOST or https://HOST:PORT")]
    Address(#[from] InvalidDnsNameError),
    #[error("the port of the relay's address is none")]
    Port(#[from] ParseIntError),
}

/// A relay's public address, the roots that vouch for it, and the DID that
/// tokens for it must name.
#[derive(Clone, Debug)]
pub struct Relay {
    host: String,
    port: u16,
    service_did: String,
    tls: Arc<ClientConfig>,
    /// Where our connections come from; left to the system when None.
    source: Option<IpAddr>,
    /// Whether the way there holds little of what is not read.
    small_buffers: bool,
}

impl Relay {
    /// A relay at `HOST:PORT` (an `https://` in front is allowed, and the port
    /// is 443 when it is left out) whose certificate chains to one in `roots`.
    pub fn new(address: &str, service_did: &str, roots: &Path) -> Result<Self, ConnectError> {
        let address = address.trim_start_matches("https://").trim_end_matches('/');
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse()?),
            None => (address, 443),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            service_did: service_did.to_owned(),
            tls: Arc::new(tls_config(roots)?),
            source: None,
            small_buffers: false,
        })
    }

    /// The same relay, reached from this address of ours.
    #[must_use]
    pub fn from_source(&self, source: IpAddr) -> Self {
        Self {
            source: Some(source),
            ..self.clone()
        }
    }

    /// The same relay, reached over little more than a wire: what a client does not read
    /// waits at the relay. Loopback, with its segments of 64 KiB, takes megabytes first.
    #[must_use]
    pub fn with_small_buffers(&self) -> Self {
        Self {
            small_buffers: true,
            ..self.clone()
        }
    }

    /// Whether it is on this machine, where all of 127.0.0.0/8 can be a source.
    pub fn is_local(&self) -> bool {
        let address: Option<IpAddr> = self.host.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    pub fn service_did(&self) -> &str {
        &self.service_did
    }

    /// `host:port`, as the `Host` header says it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A new TLS connection that offers these protocols, in this order.
    pub async fn connect(&self, alpn: &[&[u8]]) -> Result<TlsStream<TcpStream>, ConnectError> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let name = ServerName::try_from(self.host.clone())?;
        let connect = async {
            let tcp = self.connect_tcp().await?;
            let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await?;
            Ok(stream)
        };
        timeout(CONNECT_TIMEOUT, connect)
            .await
            .map_err(|_| ConnectError::Deadline)?
    }

    /// A TCP connection on which nothing has been said yet.
    pub async fn connect_tcp(&self) -> io::Result<TcpStream> {
        let place = (self.host.as_str(), self.port);
        let is_reached = |target: &SocketAddr| {
            let source = self.source;
            source.is_none_or(|source| source.is_ipv4() == target.is_ipv4())
        };
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for target in lookup_host(place).await?.filter(is_reached) {
            match self.socket(target)?.connect(target).await {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    return Ok(tcp);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn socket(&self, target: SocketAddr) -> io::Result<TcpSocket> {
        let socket = match target {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        if self.small_buffers {
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            SockRef::from(&socket).set_tcp_mss(SEGMENT)?;
        }
        Ok(socket)
    }
}

/// A client that trusts exactly the certificates in this file.
fn tls_config(roots: &Path) -> Result<ClientConfig, ConnectError> {
    let mut store = RootCertStore::empty();
    let unreadable = |source| ConnectError::Roots {
        path: roots.to_owned(),
        source,
    };
    let pem = std::fs::read(roots).map_err(unreadable)?;
    for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
        let certificate: CertificateDer<'static> = certificate.map_err(unreadable)?;
        store.add(certificate).map_err(ConnectError::Certificate)?;
    }
    if store.is_empty() {
        return Err(ConnectError::NoRoots(roots.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Certificate)?
        .with_root_certificates(store)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_vouches_for_nobody_is_refused_by_its_name() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = Relay::new("localhost", "did:web:localhost", file.path()).unwrap_err();
        assert!(matches!(&empty, ConnectError::NoRoots(path) if path == file.path()));
        let gone = Path::new("/nowhere/ca.pem");
        let missing = Relay::new("localhost", "did:web:localhost", gone).unwrap_err();
        assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
        let port = Relay::new("https://localhost:99999", "did:web:localhost", gone).unwrap_err();
        assert!(matches!(port, ConnectError::Port(_)), "{port}");
    }
}

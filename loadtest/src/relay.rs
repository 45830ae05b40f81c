//! Where a relay is and how to trust it: what every client needs to know, and
//! the TLS connection that every client starts with.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::{ServerName, pem};
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::trust;

/// Long enough for a busy machine, short enough to notice a relay that is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a segment on the internet: the relay's system sizes its own buffer by them.
const SEGMENT: u32 = 1400;

/// Bytes that wait unread on the client's side; its system takes twice as many.
const RECEIVE_BUFFER: u32 = 2048;

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot reach the relay at {authority}")]
    Io {
        authority: String,
        #[source]
        source: io::Error,
    },
    #[error("the relay at {authority} did not finish the TLS handshake in time")]
    Deadline { authority: String },
    #[error("the certificate file cannot be used")]
    Certificate(#[source] rustls::Error),
    #[error("the certificates of {} cannot be read", .path.display())]
    Roots {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("there is no certificate in {}", .0.display())]
    NoRoots(PathBuf),
    #[error("the relay's address is not https://HOST or https://HOST:PORT: {0}")]
    Address(String),
}

impl ConnectError {
    /// Whether somebody answers whom the certificates do not vouch for.
    pub fn is_distrust(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        let tls = source.get_ref().and_then(|cause| cause.downcast_ref());
        matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
    }
}

/// A relay's public address, the roots that vouch for it, and the DID that
/// tokens for it must name.
#[derive(Clone, Debug)]
pub struct Relay {
    host: String,
    name: ServerName<'static>,
    port: u16,
    service_did: String,
    tls: Arc<ClientConfig>,
    /// Where our connections come from; left to the system when None.
    source: Option<IpAddr>,
    /// Whether the way there holds little of what is not read.
    small_buffers: bool,
}

impl Relay {
    /// A relay at `HOST:PORT` (an `https://` in front is allowed, and the port is 443 when
    /// it is left out) whose certificate is in `roots`, or chains to one that is.
    pub fn new(address: &str, service_did: &str, roots: &Path) -> Result<Self, ConnectError> {
        let (host, name, port) =
            place(address).ok_or_else(|| ConnectError::Address(address.to_owned()))?;
        Ok(Self {
            host,
            name,
            port,
            service_did: service_did.to_owned(),
            tls: Arc::new(trust::client(roots)?),
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
        let address: Option<Ipv4Addr> = self.host.parse().ok();
        self.host == "localhost" || address.is_some_and(|address| address.is_loopback())
    }

    pub fn service_did(&self) -> &str {
        &self.service_did
    }

    /// `host:port`, as the `Host` header says it.
    pub fn authority(&self) -> String {
        let port = self.port;
        match self.host.contains(':') {
            true => format!("[{}]:{port}", self.host),
            false => format!("{}:{port}", self.host),
        }
    }

    /// A new TLS connection that offers these protocols, in this order.
    pub async fn connect(&self, alpn: &[&[u8]]) -> Result<TlsStream<TcpStream>, ConnectError> {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let connect = async {
            let tcp = self.connect_tcp().await?;
            let connector = TlsConnector::from(Arc::new(tls));
            connector.connect(self.name.clone(), tcp).await
        };
        let authority = self.authority();
        match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(ConnectError::Io { authority, source }),
            Err(_) => Err(ConnectError::Deadline { authority }),
        }
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

/// The host, as what it is known to its certificate, and the port.
fn place(address: &str) -> Option<(String, ServerName<'static>, u16)> {
    let place = address.trim_start_matches("https://").trim_end_matches('/');
    let (host, port) = match place.rsplit_once(':') {
        // That colon is one of an IPv6 address without a port.
        Some((_, port)) if port.ends_with(']') => (place, 443),
        Some((host, port)) => (host, port.parse().ok()?),
        None => (place, 443),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = bare.unwrap_or(host).to_owned();
    let name = ServerName::try_from(host.clone()).ok()?;
    Some((host, name, port))
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
    }

    #[test]
    fn an_address_is_a_host_with_or_without_a_port_and_nothing_else() {
        for (address, host, port) in [
            ("localhost:8443", "localhost", 8443),
            ("https://relay.example.com/", "relay.example.com", 443),
            ("https://127.0.0.1:1", "127.0.0.1", 1),
            ("https://[::1]:8443", "::1", 8443),
            ("https://[2001:db8::1]", "2001:db8::1", 443),
        ] {
            let (seen, _, seen_port) = place(address).unwrap();
            assert_eq!((seen.as_str(), seen_port), (host, port), "{address}");
        }
        for address in [
            "",
            "https://localhost:99999",
            "http://localhost:8443",
            "https://localhost:8443/xrpc",
            "https://localhost/xrpc",
            "::1",
        ] {
            assert_eq!(place(address), None, "{address}");
        }
    }
}

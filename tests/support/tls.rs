//! A TLS client of the test's own, which can speak as well and as badly as it likes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::relay::Relay;

pub(crate) type Stream = TlsStream<TcpStream>;

/// Trusts one certificate, speaks the given versions, offers the given protocols.
#[derive(Clone)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
}

impl Client {
    pub(crate) fn new(
        certificate: &Path,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Self {
        let authority = std::fs::read_to_string(certificate).unwrap();
        Self::with(&authority, None, versions, alpn)
    }

    /// Trusts an authority, shows a certificate with its key if it has one; HTTP/1.1.
    pub(crate) fn trusting(authority: &str, own: Option<&(String, String)>) -> Self {
        Self::with(authority, own, rustls::ALL_VERSIONS, &["http/1.1"])
    }

    fn with(
        authority: &str,
        own: Option<&(String, String)>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authority) {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = rustls_pemfile::private_key(&mut key.as_bytes());
                let (chain, key) = (certificates(chain), key.unwrap().unwrap());
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self {
            config: Arc::new(config),
        }
    }

    /// Any version, HTTP/1.1.
    pub(crate) fn http1(relay: &Relay) -> Self {
        Self::speaking("http/1.1", relay)
    }

    /// Any version, HTTP/2.
    pub(crate) fn http2(relay: &Relay) -> Self {
        Self::speaking("h2", relay)
    }

    fn speaking(protocol: &str, relay: &Relay) -> Self {
        let certificate = relay.home().certificate();
        Self::new(&certificate, rustls::ALL_VERSIONS, &[protocol])
    }

    pub(crate) async fn connect(&self, relay: &Relay) -> std::io::Result<Stream> {
        self.connect_to(relay.public, "localhost").await
    }

    /// Whoever is at the address, by a name.
    pub(crate) async fn connect_to(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<Stream> {
        self.over(TcpStream::connect(address).await?, name).await
    }

    /// Whoever is at the other end.
    pub(crate) async fn over(&self, stream: TcpStream, name: &str) -> std::io::Result<Stream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
    }

    /// One GET on a connection of its own, and the whole answer as text.
    pub(crate) async fn get(&self, relay: &Relay, path: &str, headers: &str) -> String {
        self.ask(relay, "GET", path, headers).await
    }

    pub(crate) async fn ask(
        &self,
        relay: &Relay,
        method: &str,
        path: &str,
        headers: &str,
    ) -> String {
        let mut stream = self.connect(relay).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        read_to_end(&mut stream).await
    }
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let read = rustls_pemfile::certs(&mut pem.as_bytes()).collect::<Result<_, _>>();
    read.unwrap()
}

/// The certificate that the other end has shown.
pub(crate) fn leaf(stream: &Stream) -> Vec<u8> {
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].to_vec()
}

/// One request on a connection that stays open, and the head of its answer, which has no body.
pub(crate) async fn ask(stream: &mut Stream) -> std::io::Result<String> {
    let request = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await?;
    read_head(stream).await
}

/// The head of an answer, up to its empty line and no further.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        head.push(byte.map_err(|_| std::io::ErrorKind::TimedOut)??);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Everything until the other end closes, which it must do in time. However it closes:
/// some do not say goodbye.
pub(crate) async fn read_to_end(stream: &mut Stream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(read.is_ok(), "the connection was not closed in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Over every deadline that the tests set, with room for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

//! The handshake: TLS 1.3 and 1.2 with the suites that rustls knows, all of which have
//! forward secrecy and authenticated encryption.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::acme::{ACME_TLS_ALPN, Challenges};
use super::certificates::Certificates;
use super::cipher_suites;
use super::client_roots::ClientRoots;
use super::error::{CertError, TlsError};
use super::stream::{HandshakeError, TlsStream};
use super::ticket_keys::TicketKeys;
use super::watched::{Watched, read};
use crate::runtime::Shutdown;
use crate::telemetry::with_causes;

/// The two protocols, most wanted first.
pub const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Mutual TLS: the authorities of which a connection must show a certificate.
#[derive(Debug)]
pub struct ClientAuthorities(Watched<ClientRoots>);

impl ClientAuthorities {
    /// `bundle` is read once more whenever it changes.
    pub fn load(bundle: &Path) -> Result<Self, CertError> {
        let paths = vec![bundle.to_owned()];
        Watched::start("client_ca".to_owned(), paths, SystemTime::now()).map(Self)
    }
}

/// Shakes hands. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: ArcSwap<ServerConfig>,
    certificates: Certificates,
    tickets: Arc<TicketKeys>,
    client_roots: Option<Mutex<Watched<ClientRoots>>>,
    challenges: Option<Challenges>,
}

impl Tls {
    /// `challenges`: how an ACME directory that asks is answered, if one is used.
    pub fn new(
        client_authorities: Option<ClientAuthorities>,
        certificates: Certificates,
        tickets: Arc<TicketKeys>,
        challenges: Option<Challenges>,
    ) -> Result<Self, TlsError> {
        let client_roots = client_authorities.map(|authorities| authorities.0);
        let roots = client_roots.as_ref().map(|watched| &watched.current);
        let config = server_config(&certificates, &tickets, roots)?;
        Ok(Self(Arc::new(Inner {
            config: ArcSwap::from_pointee(config),
            certificates,
            tickets,
            client_roots: client_roots.map(Mutex::new),
            challenges,
        })))
    }

    /// Begins to look after its files, until the process stops.
    pub fn watch(&self, every: Duration, shutdown: &Shutdown) {
        let tls = self.clone();
        shutdown.spawn_background(async move {
            loop {
                sleep(every).await;
                let looking = tls.clone();
                // A look that fails is followed by another.
                let look = move || looking.look(SystemTime::now());
                let mut look = tokio::task::spawn_blocking(look);
                // Files may lie on a network that does not answer: one look waits for it, and
                // whoever wants to know meanwhile is told.
                while timeout(every * 3, &mut look).await.is_err() {
                    tls.miss(SystemTime::now());
                }
            }
        });
    }

    /// Whether everything that it serves by is as it should be.
    pub fn is_well(&self) -> bool {
        let roots = self.0.client_roots.as_ref();
        let is_faulty = roots.is_some_and(|roots| roots.lock().is_faulty);
        self.0.certificates.is_well() && !is_faulty
    }

    fn look(&self, now: SystemTime) {
        self.0.certificates.look(now);
        let Some(roots) = &self.0.client_roots else {
            return;
        };
        let paths = roots.lock().paths.clone();
        let contents = read(&paths);
        let mut roots = roots.lock();
        if !roots.take(contents, now) {
            return;
        }
        match server_config(&self.0.certificates, &self.0.tickets, Some(&roots.current)) {
            Ok(config) => self.0.config.store(Arc::new(config)),
            Err(error) => {
                roots.is_faulty = true;
                let error = with_causes(&error);
                tracing::warn!(error, "the new authorities of clients cannot be used");
            }
        }
    }

    /// A look takes too long.
    fn miss(&self, now: SystemTime) {
        self.0.certificates.miss(now);
        if let Some(roots) = &self.0.client_roots {
            roots.lock().miss();
        }
    }

    /// Shakes hands with a client. None: it was an ACME directory, which has its answer.
    /// The caller sets the deadline.
    pub async fn accept(&self, mut tcp: TcpStream) -> Result<Option<TlsStream>, HandshakeError> {
        let config = self.0.config.load_full();
        let Some(challenges) = &self.0.challenges else {
            return TlsStream::accept(config, tcp, Vec::new()).await.map(Some);
        };
        let (begun, proof_of) = hello(&mut tcp).await?;
        let Some(name) = proof_of else {
            return TlsStream::accept(config, tcp, begun).await.map(Some);
        };
        let answer = challenges.answer(&name).await;
        let answer = answer.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        TlsStream::accept(answer, tcp, begun)
            .await?
            .shutdown()
            .await?;
        Ok(None)
    }
}

/// Reads a ClientHello: its bytes, and the name that is to be proved if this client
/// speaks the challenge's protocol (RFC 8737 section 3). Of a client that does not
/// make sense the handshake itself will tell.
async fn hello(tcp: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut begun = Vec::with_capacity(HELLO_LEN);
    loop {
        if tcp.read_buf(&mut begun).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut acceptor = Acceptor::default();
        let mut unread = begun.as_slice();
        while !unread.is_empty() && acceptor.read_tls(&mut unread).is_ok_and(|len| len > 0) {}
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok((begun, asked_by_acme(&accepted.client_hello()))),
            Ok(None) if begun.len() < HELLO_LEN_MAX => {}
            Ok(None) => return Err(io::ErrorKind::InvalidData.into()),
            Err(_) => return Ok((begun, None)),
        }
    }
}

fn asked_by_acme(hello: &ClientHello<'_>) -> Option<String> {
    let mut protocols = hello.alpn()?;
    let asks = protocols.any(|protocol| protocol == ACME_TLS_ALPN);
    asks.then(|| hello.server_name().unwrap_or_default().to_ascii_lowercase())
}

fn server_config(
    certificates: &Certificates,
    tickets: &Arc<TicketKeys>,
    client_roots: Option<&ClientRoots>,
) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(cipher_suites::provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match client_roots {
        Some(roots) => builder.with_client_cert_verifier(roots.verifier(provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.resolver());
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    // Every suite is a good one; that we choose is what scanners ask for.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // No early data: a replayed send would be a send.
    config.max_early_data_size = 0;
    if client_roots.is_some() {
        // A resumed session is not asked for its certificate again, so one whose authority
        // has gone would live on. Proxies keep their connections; they lose nothing.
        config.send_tls13_tickets = 0;
        return Ok(config);
    }
    // Resumption lives with the client, in tickets under keys that all nodes share: a
    // phone that returns, to whichever node, saves the signature, and we keep no state.
    config.ticketer = Arc::clone(tickets) as Arc<dyn rustls::server::ProducesTickets>;
    // One ticket is one reconnect; the next connection brings the next ticket.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Most are shorter; those with post-quantum key shares are not much longer.
const HELLO_LEN: usize = 2048;
const HELLO_LEN_MAX: usize = 16 * 1024;

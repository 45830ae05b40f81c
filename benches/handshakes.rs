//! What a TLS handshake costs the relay, everything from accept to close included,
//! beside a bare accept loop with the same certificate and the same choices: full ones,
//! and those that go on from a ticket.
//!
//! Both are processes of their own and take turns with the same client, which leaves as
//! soon as it has its ticket. Needs the release binaries: `make bench` builds them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/accept_loop.rs"]
mod accept_loop;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/own_server.rs"]
mod own_server;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use figure::{Figure, median};
use mls_relay_loadtest::load::Usage;
use mls_relay_loadtest::relay_process::RelayProcess;
use own_server::OwnServer;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;

const TURNS: usize = 7;
/// About a second of a server's CPU, which the kernel counts in hundredths.
const FULL: usize = 3_000;
const RESUMED: usize = 6_000;
const CLIENTS: usize = 16;

/// All from one address, each counted and judged as a stranger's is.
const LIMITS: [(&str, &str); 4] = [
    ("CONNECTIONS_TOTAL", "1000000"),
    ("CONNECTIONS_PER_IP", "1000000"),
    ("CONNECTIONS_PER_IP_PER_SECOND", "65535"),
    ("HANDSHAKES_MAX", "100000"),
];

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, certificate] = arguments.as_slice()
        && word == BARE
    {
        return accept_loop::serve(Path::new(certificate)).await;
    }
    let limits = LIMITS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let relay = RelayProcess::start_built("http://localhost:1".to_owned(), limits.to_vec());
    let relay = relay.await.unwrap();
    let ours = Server {
        pid: relay.pid(),
        port: relay.public().port(),
    };
    let bare = OwnServer::start(&[BARE], &relay.certificate());
    let theirs = Server {
        pid: bare.pid(),
        port: bare.port,
    };
    let roots = roots(&relay.certificate());
    for (kind, count, name) in [
        (HandshakeKind::Full, FULL, "handshakes_full_per_cpu_second"),
        (
            HandshakeKind::Resumed,
            RESUMED,
            "handshakes_resumed_per_cpu_second",
        ),
    ] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            for (server, rates) in [&ours, &theirs].into_iter().zip(&mut rates) {
                rates.push(server.rate(&roots, kind, count).await);
            }
        }
        let [ours, baseline] = rates.map(median);
        Figure::new(name, ours, "1/s")
            .over(baseline)
            .goal("ratio at least 0.9")
            .record();
    }
}

/// What makes this program the loop.
const BARE: &str = "bare";

struct Server {
    pid: u32,
    port: u16,
}

impl Server {
    /// Handshakes of this kind for a second of this server's CPU.
    async fn rate(&self, roots: &Arc<RootCertStore>, kind: HandshakeKind, count: usize) -> f64 {
        let clients: Vec<_> = (0..CLIENTS).map(|_| client(roots, kind)).collect();
        for client in &clients {
            // It brings the first ticket.
            shake(client, self.port).await;
        }
        let before = Usage::of(self.pid).unwrap();
        let mut tasks = JoinSet::new();
        for client in clients {
            let port = self.port;
            tasks.spawn(async move {
                for _ in 0..count / CLIENTS {
                    assert_eq!(shake(&client, port).await, kind);
                }
            });
        }
        tasks.join_all().await;
        // The last ones are still being closed.
        sleep(Duration::from_millis(50)).await;
        let cpu = Usage::of(self.pid).unwrap().cpu_since(&before);
        (count / CLIENTS * CLIENTS) as f64 / cpu.as_secs_f64()
    }
}

/// One connection from its first byte to the server's goodbye, before which the ticket
/// has come.
async fn shake(client: &TlsConnector, port: u16) -> HandshakeKind {
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let tcp = tcp.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = client.connect(name, tcp).await.unwrap();
    let kind = tls.get_ref().1.handshake_kind();
    tls.shutdown().await.unwrap();
    let mut nothing = [0; 1];
    assert_eq!(tls.read(&mut nothing).await.unwrap(), 0);
    kind.unwrap()
}

/// A client that remembers its tickets, or none.
fn client(roots: &Arc<RootCertStore>, kind: HandshakeKind) -> TlsConnector {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(Arc::clone(roots))
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    if kind == HandshakeKind::Full {
        tls.resumption = Resumption::disabled();
    }
    TlsConnector::from(Arc::new(tls))
}

fn roots(certificate: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    roots.add(certificate).unwrap();
    Arc::new(roots)
}

//! Hosts of the web, some of which never answer, and a cache that asks them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mls_relay_loadtest::identity::{Account, Curve};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::lookup_world::DOCUMENT_LEN_MAX;
use crate::auth::key_cache::KeyCache;
use crate::auth::refresh_budget::RefreshBudget;
use crate::auth::resolver::Resolver;
use crate::auth::{ResolveError, Settings};
use crate::outbound::tests::tls_of;
use crate::outbound::{Endpoint, Fetcher};
use crate::runtime::{Live, Shutdown};
use crate::types::Did;

/// All hosts of the web at one address.
pub(super) struct Web {
    cache: KeyCache,
    asked: Asked,
    /// Lookups that nobody looks at.
    flood: JoinSet<()>,
}

/// How often each host was asked.
type Asked = Arc<Mutex<HashMap<String, usize>>>;

impl Web {
    /// These hosts. One whose name begins with `slow` takes the request and never answers.
    pub(super) async fn start(hosts: Vec<String>, change: impl FnOnce(&mut Settings)) -> Self {
        let (acceptor, roots) = tls_of(hosts);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let served = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&served)));
            }
        });
        let mut settings = Settings {
            resolve_timeout: Duration::from_secs(2),
            ..Settings::default()
        };
        change(&mut settings);
        let settings = Live::new(settings);
        let fetcher = Fetcher::trusting(roots, DOCUMENT_LEN_MAX).unwrap();
        let plc = Endpoint::parse("http://127.0.0.1:1").unwrap();
        let resolver = Resolver::new(fetcher, plc, settings.clone()).with_web_at(address);
        let budget = RefreshBudget::new(Duration::from_secs(10), 20, 100);
        Self {
            cache: KeyCache::new(resolver, settings, budget, Shutdown::default()),
            asked,
            flood: JoinSet::new(),
        }
    }

    /// Whether the account of this host has a key, for one who asks from this network.
    pub(super) async fn key(&self, host: &str, from: IpAddr) -> Result<(), ResolveError> {
        self.cache.key(&did(host), from).await.map(|_| ())
    }

    /// Asks for all of these at once, and does not wait for any.
    pub(super) fn flood(&mut self, askers: impl Iterator<Item = (String, IpAddr)>) {
        for (host, network) in askers {
            let cache = self.cache.clone();
            self.flood.spawn(async move {
                let _ = cache.key(&did(&host), network).await;
            });
        }
    }

    pub(super) fn asked(&self, host: &str) -> usize {
        self.asked.lock().get(host).copied().unwrap_or_default()
    }

    /// How many hosts do not answer at the moment.
    pub(super) fn asked_in_vain(&self) -> usize {
        let asked = self.asked.lock();
        asked.keys().filter(|host| is_slow(host)).count()
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, asked: Asked) {
    // Whoever has asked in vain for long enough hangs up.
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut request = vec![0; 4096];
    let len = stream.read(&mut request).await.unwrap_or_default();
    let request = String::from_utf8_lossy(&request[..len]).to_lowercase();
    let mut lines = request.lines();
    let Some(host) = lines.find_map(|line| line.strip_prefix("host: ")) else {
        return;
    };
    *asked.lock().entry(host.to_owned()).or_default() += 1;
    if is_slow(host) {
        std::future::pending::<()>().await;
    }
    let account = Account::with_did(&format!("did:web:{host}"), Curve::P256).unwrap();
    let document = account.document().to_string();
    let len = document.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{document}");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn is_slow(host: &str) -> bool {
    host.starts_with("slow")
}

fn did(host: &str) -> Did {
    Did::parse(&format!("did:web:{host}")).unwrap()
}

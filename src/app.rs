//! The composition root: builds each part once, in order. It alone knows them all.

mod ask;
mod certificates;
mod clock;
mod database;
mod live;
mod opening;
mod probes;
mod reload;
mod upkeep;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::auth::{self, Authenticator};
use crate::blocks::{self, Blocks};
use crate::config::{Config, Loaded};
use crate::edge::{self, Admin, DidDocument, Edge, Gate, Health, Routes};
use crate::events::Hub;
use crate::limits::{Clock, Limits};
use crate::outbound;
use crate::postgres::{PostgresError, Private};
use crate::receipt::ReceiptSigner;
use crate::retention::Retention;
use crate::runtime::{Drained, Shutdown, raise_descriptor_limit};
use crate::session::Sessions;
use crate::store::{DatabaseUrlError, Store, StoreError};
use crate::telemetry::{LogFilter, Metrics};
use crate::tls::{self, Certificates, ClientAuthorities};
use crate::xrpc::{self, Calls};

use live::LiveSettings;
use reload::{Reloader, Reloads};

pub use ask::is_ready;
pub use opening::Opening;

/// Why the relay cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("callers cannot be authenticated")]
    Auth(#[from] auth::StartError),
    #[error("nobody can be asked about blocks")]
    Blocks(#[from] blocks::StartError),
    #[error("the certificate cannot be served")]
    Certificate(#[from] tls::CertError),
    #[error("tls.client_ca (TLS_CLIENT_CA) cannot be used")]
    ClientAuthorities(#[source] tls::CertError),
    #[error("the edge cannot be set up")]
    Edge(#[from] edge::EdgeError),
    #[error("the key that signs receipts cannot be used")]
    ReceiptKey,
    #[error("the private Postgres does not run")]
    Postgres(#[from] PostgresError),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    #[error("the database's address is not valid")]
    Url(#[from] DatabaseUrlError),
    #[error("TLS cannot be served")]
    Tls(#[from] tls::TlsError),
}

/// Everything that serves.
#[derive(Debug)]
pub struct App {
    /// What was done at start.
    pub opening: Opening,
    health: Health,
    live: LiveSettings,
    postgres: Option<Private>,
    reloads: Reloads,
    shutdown: Shutdown,
}

/// What a relay starts from, and goes by while it runs.
#[derive(Debug)]
pub struct Beginnings {
    pub loaded: Loaded,
    /// The configuration file that was named, to be read again.
    pub file: Option<PathBuf>,
    pub logs: LogFilter,
    pub metrics: Metrics,
}

impl App {
    /// Binds, builds and begins to serve.
    pub async fn start(beginnings: Beginnings) -> Result<Self, AppError> {
        let config = &beginnings.loaded.config;
        let live = LiveSettings::of(config);
        // 1. Bind first: a taken port should fail before anything is started.
        let edge = Edge::bind(live.edge.clone())?;
        let admin = Admin::bind(config.edge.admin_listen)?;
        let (certificates, dev_certificate) = certificates::load(config)?;
        let client_authorities = config.tls.client_ca.as_deref();
        let client_authorities = client_authorities.map(ClientAuthorities::load).transpose();
        let client_authorities = client_authorities.map_err(AppError::ClientAuthorities)?;
        // 2. Postgres, ours if none is given.
        let postgres = database::private(config).await?;
        let opening = Opening {
            public: edge.address()?,
            admin: admin.address()?,
            dev_certificate,
            postgres: postgres.as_ref().map(|private| private.about.clone()),
        };
        let shutdown = Shutdown::default();
        let reloader = Reloader::new(
            &beginnings.loaded,
            beginnings.file,
            live.clone(),
            certificates.clone(),
            beginnings.logs,
        );
        let parts = Parts {
            edge,
            admin,
            certificates,
            client_authorities,
            metrics: beginnings.metrics,
            live: live.clone(),
            reloads: Reloads::default(),
        };
        let reloads = parts.reloads.clone();
        // 3. Everything that stands on it. On a failure Postgres must not outlive us.
        match serve(config, parts, postgres.as_ref(), &shutdown).await {
            Ok(health) => {
                reloads.start(reloader, &shutdown);
                Ok(Self {
                    opening,
                    health,
                    live,
                    postgres,
                    reloads,
                    shutdown,
                })
            }
            Err(error) => {
                database::stop(postgres).await;
                Err(error)
            }
        }
    }

    /// Waits until everything works, for a while: whoever starts us may go on then.
    pub async fn ready(&self) {
        let deadline = Instant::now() + READY_PATIENCE;
        while !self.health.is_ready() && Instant::now() < deadline {
            sleep(READY_LOOK).await;
        }
    }

    /// Reads the configuration file again, and goes by it from then on if it holds. It does
    /// so until the drain begins, also while the relay leaves.
    pub fn reload(&self) -> impl Fn() + use<> {
        let reloads = self.reloads.clone();
        move || reloads.ask()
    }

    /// Resolves when a task that all others need has panicked: leave then.
    pub async fn failed(&self) {
        self.shutdown.failed().await;
    }

    /// Says that it leaves, and works on while balancers notice; then takes nothing new,
    /// lets what is under way finish within the grace, and stops Postgres last.
    pub async fn leave(self) -> Drained {
        self.shutdown.announce();
        self.notice().await;
        // As it is when it begins to count.
        let grace = self.live.process.load().drain_grace;
        let live = self.live.clone();
        tokio::select! {
            drained = self.drain(grace) => drained,
            never = live.hurry(grace) => never,
        }
    }

    /// The time for balancers, which may change while it runs.
    async fn notice(&self) {
        let began = Instant::now();
        loop {
            let changed = self.live.process.changed();
            let notice = self.live.process.load().drain_notice;
            tokio::select! {
                () = sleep(notice.saturating_sub(began.elapsed())) => return,
                () = changed => {}
            }
        }
    }

    /// Waits for nobody, and stops Postgres last.
    pub async fn stop(self) {
        self.drain(Duration::ZERO).await;
    }

    async fn drain(self, grace: Duration) -> Drained {
        let drained = self.shutdown.drain(grace).await;
        database::stop(self.postgres).await;
        drained
    }
}

/// Brings the schema of the configured database up to date, and nothing else.
pub async fn migrate(config: Config) -> Result<(), AppError> {
    let postgres = database::private(&config).await?;
    if let Some(own) = &postgres {
        own.about.warn();
    }
    let migrated = match database::store_settings(&config, postgres.as_ref()) {
        Ok(settings) => Store::migrate(&settings).await.map_err(AppError::from),
        Err(error) => Err(error.into()),
    };
    database::stop(postgres).await;
    migrated
}

/// What is there before the database is, and waits for the rest.
struct Parts {
    edge: Edge,
    admin: Admin,
    certificates: Certificates,
    client_authorities: Option<ClientAuthorities>,
    metrics: Metrics,
    live: LiveSettings,
    reloads: Reloads,
}

async fn serve(
    config: &Config,
    parts: Parts,
    postgres: Option<&Private>,
    shutdown: &Shutdown,
) -> Result<Health, AppError> {
    let live = parts.live;
    let start_timeout = config.database.private.start_timeout;
    let store_settings = database::store_settings(config, postgres)?;
    let store = database::open(store_settings, start_timeout, shutdown).await?;
    let limits = limits(config, &live, &store, shutdown);
    let auth = Authenticator::start(live.auth.clone(), store.clone(), shutdown.clone()).await?;
    let retention = Retention::start(&store, &live.retention, shutdown);
    let hub = Hub::start(Arc::new(store.clone()), live.events.clone(), shutdown);
    let sessions = Sessions::new(
        hub.clone(),
        auth.clone(),
        limits.clone(),
        live.session.clone(),
        shutdown.clone(),
    );
    let receipts = receipts(&store).await?;
    let calls = Calls::new(
        xrpc::Parts {
            store: store.clone(),
            auth: auth.clone(),
            blocks: Blocks::start(config.blocks.clone(), store.clone())?,
            hub: hub.clone(),
            receipts: Arc::clone(&receipts),
        },
        limits.clone(),
        live.xrpc.clone(),
        shutdown.clone(),
    );

    let (certificates, authorities) = (parts.certificates, parts.client_authorities);
    let tls = certificates::serve(config, &store, certificates, authorities, shutdown).await?;
    let pulse = upkeep::watch(store.clone(), shutdown);
    let probes = probes::all(pulse, hub, retention, parts.reloads, tls.clone());
    let health = Health::new(shutdown.clone(), probes);
    let public_url = config.edge.public_url.clone();
    let public_url = public_url.or_else(|| local_url(config, parts.edge.address().ok()?));
    let did = DidDocument::new(
        &config.auth.service_did,
        public_url.as_deref(),
        &receipts.multikey(),
    );
    let gate = Gate::new(auth, limits.clone());
    let routes = Routes::new(&config.edge, gate, calls, sessions, health.clone(), did);
    upkeep::keep_metrics(parts.metrics.clone(), shutdown);
    parts.admin.serve(
        health.clone(),
        parts.metrics,
        limits.clone(),
        store,
        live.edge,
        shutdown,
    );
    parts.edge.serve(tls, limits, routes, shutdown);
    Ok(health)
}

fn limits(config: &Config, live: &LiveSettings, store: &Store, shutdown: &Shutdown) -> Limits {
    let limits = Limits::new(live.limits.clone(), Clock::system());
    limits.bound_connections(connections_room(config));
    limits.start_upkeep(shutdown);
    limits.start_sharing(store.clone(), shutdown);
    limits
}

/// The signer whose key all nodes have from the store.
async fn receipts(store: &Store) -> Result<Arc<ReceiptSigner>, AppError> {
    let seed = store.shared_secret(RECEIPT_SECRET_NAME).await?;
    let signer = ReceiptSigner::new(&seed).map_err(|_| AppError::ReceiptKey)?;
    Ok(Arc::new(signer))
}

/// For how many connections the system has room, beside all else that must go on while there
/// are so many. A limit that the system ends before we do is no limit.
fn connections_room(config: &Config) -> u32 {
    let most = raise_descriptor_limit();
    let beside = descriptors_beside(config).min(most / 2);
    let room = u32::try_from(most - beside).unwrap_or(u32::MAX);
    if room < config.limits.connections.total {
        tracing::warn!(
            most,
            room,
            "the open-files limit (ulimit -n, LimitNOFILE) has room for fewer connections than \
             limits.connections_total (CONNECTIONS_TOTAL)"
        );
    }
    room
}

/// What else may be open at once, as far as settings bound it, and some.
fn descriptors_beside(config: &Config) -> u64 {
    let lookups = config.auth.lookups_at_once() + config.blocks.questions_max;
    let bounded = lookups * outbound::ADDRESSES_TRIED_MAX + config.edge.admin_connections_max;
    OTHER_FILES + u64::from(config.store.connections_in_all()) + bounded as u64
}

/// The default service is this machine, whose DID cannot tell the port.
fn local_url(config: &Config, address: SocketAddr) -> Option<String> {
    let is_local = config.auth.service_did == auth::Settings::default().service_did;
    is_local.then(|| format!("https://localhost:{}", address.port()))
}

/// The listener's first connection; readiness says the rest.
const READY_PATIENCE: Duration = Duration::from_secs(10);
const READY_LOOK: Duration = Duration::from_millis(10);

/// Listeners, the runtime's, files and names that are looked at, ACME, the log, and a connection
/// on its way out for each that comes in.
const OTHER_FILES: u64 = 128;

/// The name of the receipts' key in the store.
const RECEIPT_SECRET_NAME: &str = "receipt";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_open_beside_connections_follows_the_settings_that_bound_it() {
        let mut config = Config::default();
        let usual = descriptors_beside(&config);
        assert_eq!(usual, 128 + 17 + 64 + 3 * (64 + 16 + 16));
        config.auth.web_lookups_max += 1_000;
        config.store.connections_max += 100;
        assert_eq!(descriptors_beside(&config), usual + 3 * 1_000 + 100);
    }
}

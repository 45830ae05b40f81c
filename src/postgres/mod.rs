//! The private Postgres: a real server of the relay's own, for when none is given.
//!
//! Its data is kept between runs. It listens on a unix socket in a directory that only
//! its user may enter, so it needs no password; it never opens a port.
//!
//! ```text
//! relay ── lock ── cluster ── guard (sh) ── postgres
//!   │                           ▲
//!   └────────── pipe ───────────┘   closed by a stop, or by the relay's death
//! ```
//!
//! # Why a guard and a pipe
//!
//! A pipe closes however the relay ends, so one mechanism serves the clean stop, the
//! crash and the `kill -9`. Linux's parent-death signal would need unsafe code between
//! fork and exec, fires when the *thread* that forked ends, is cleared by a change of
//! user, and exists nowhere else.

mod binaries;
mod cluster;
mod error;
mod guard;
mod layout;
mod leftover;
mod owner;
mod server;
mod settings;

pub use error::PostgresError;
pub use settings::Settings;

use std::path::PathBuf;
use std::time::Duration;

use crate::runtime::{Backoff, Shutdown, endure, random};
use crate::telemetry::with_causes;
use binaries::Binaries;
use layout::Layout;
use server::Server;

/// A running private Postgres. It is kept running until `stop`.
#[derive(Debug)]
pub struct Private {
    pub about: About,
    stop_timeout: Duration,
    shutdown: Shutdown,
}

/// How to connect to it, and what an operator may want to know of it.
#[derive(Clone, Debug)]
pub struct About {
    pub url: String,
    /// Not where it was asked to be when its user cannot go there.
    pub data_dir: PathBuf,
    /// Such as `15.18`.
    pub version: String,
}

impl About {
    /// Nobody may have asked for it: one mistyped variable, and it is used.
    pub fn warn(&self) {
        tracing::warn!(
            value = %self.data_dir.display(),
            "database.url (DATABASE_URL) is not set: a private Postgres keeps everything"
        );
    }
}

impl Private {
    /// Starts it: creates the cluster at the first run, recovers it after a crash.
    pub async fn start(settings: &Settings) -> Result<Self, PostgresError> {
        let layout = Layout::prepare(&settings.data_dir)?;
        let binaries = Binaries::find(settings.bin_dir.as_deref(), layout.major_version()?)?;
        cluster::ensure(&layout, &binaries, settings.durable).await?;
        let mut plan = Plan {
            settings: settings.clone(),
            layout,
            binaries,
        };
        let server = plan.launch().await?;
        cluster::ensure_database(&plan.layout, settings.start_timeout).await?;
        let shutdown = Shutdown::default();
        let private = Self {
            about: About {
                url: plan.layout.url(cluster::DATABASE),
                data_dir: plan.layout.dir.clone(),
                version: plan.binaries.version.clone(),
            },
            stop_timeout: settings.stop_timeout,
            shutdown: shutdown.clone(),
        };
        let keeper = Keeper {
            plan,
            server: Some(server),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(endure("postgres", keeper, |keeper| {
            Box::pin(keeper.keep_running())
        }));
        Ok(private)
    }

    /// Stops it cleanly. Returns when it has ended.
    pub async fn stop(self) {
        self.shutdown
            .drain(self.stop_timeout + guard::QUIT_GRACE * 2)
            .await;
    }
}

/// What is needed to start it once more.
#[derive(Debug)]
struct Plan {
    settings: Settings,
    /// Holds the lock.
    layout: Layout,
    binaries: Binaries,
}

impl Plan {
    /// Starts the server, after stopping one that a dead relay left behind. Tries again
    /// within the start's deadline: after a crash the old server's last processes may
    /// hold on to its shared memory for a moment.
    async fn launch(&mut self) -> Result<Server, PostgresError> {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
        let deadline = tokio::time::Instant::now() + self.settings.start_timeout;
        loop {
            leftover::stop(&self.layout.cluster, self.settings.stop_timeout).await?;
            let error = match Server::launch(&self.settings, &self.layout, &self.binaries).await {
                Ok(server) => return Ok(server),
                Err(error) => error,
            };
            let pause = backoff.next(random());
            if !error.is_transient() || tokio::time::Instant::now() + pause > deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }
}

/// What keeps it running.
struct Keeper {
    plan: Plan,
    /// `None` when it has ended.
    server: Option<Server>,
    shutdown: Shutdown,
}

impl Keeper {
    /// Restarts the server whenever it ends, until the stop. Calls fail meanwhile, and
    /// the store's refusal says when to come back.
    async fn keep_running(&mut self) {
        let is_up = metrics::gauge!("relay_postgres_up");
        loop {
            if let Some(server) = &mut self.server {
                is_up.set(1.0);
                tokio::select! {
                    () = server.ended() => self.server = None,
                    () = self.shutdown.draining() => break,
                }
                is_up.set(0.0);
                tracing::warn!("the private Postgres has ended; starting it again");
            }
            let server = tokio::select! {
                server = relaunch(&mut self.plan) => server,
                () = self.shutdown.draining() => break,
            };
            self.server = Some(server);
            tracing::warn!("the private Postgres runs again");
        }
        if let Some(server) = self.server.take() {
            server.stop(self.plan.settings.stop_timeout).await;
        }
        self.plan.layout.tidy_up();
    }
}

async fn relaunch(plan: &mut Plan) -> Server {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        tokio::time::sleep(backoff.next(random())).await;
        metrics::counter!("relay_postgres_restarts_total").increment(1);
        match plan.launch().await {
            Ok(server) => return server,
            Err(error) => {
                let error = with_causes(&error);
                tracing::error!(error, "cannot start the private Postgres");
            }
        }
    }
}

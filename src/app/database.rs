//! The database that the relay stands on: configured, or a private Postgres of its own.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::config::Config;
use crate::postgres::{self, PostgresError, Private};
use crate::runtime::{Backoff, Shutdown, random};
use crate::store::{self, DatabaseUrl, DatabaseUrlError, Store, StoreError};

/// Our own, where none is configured.
pub(super) async fn private(config: &Config) -> Result<Option<Private>, PostgresError> {
    match config.database.url {
        Some(_) => Ok(None),
        None => {
            let settings = postgres::Settings {
                connections: config.store.connections_in_all(),
                ..config.database.private.clone()
            };
            Ok(Some(Private::start(&settings).await?))
        }
    }
}

pub(super) async fn stop(postgres: Option<Private>) {
    if let Some(postgres) = postgres {
        postgres.stop().await;
    }
}

pub(super) fn store_settings(
    config: &Config,
    postgres: Option<&Private>,
) -> Result<store::Settings, DatabaseUrlError> {
    let database_url = match postgres {
        Some(private) => DatabaseUrl::parse(&private.about.url)?,
        None => config.database.url.clone().unwrap_or_default(),
    };
    Ok(store::Settings {
        database_url,
        ..config.store.clone()
    })
}

/// Waits for a database that is still starting: relay and Postgres are often started
/// together, and nothing orders them.
pub(super) async fn open(
    settings: store::Settings,
    start_timeout: Duration,
    shutdown: &Shutdown,
) -> Result<Store, StoreError> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    let deadline = Instant::now() + start_timeout;
    loop {
        let error = match Store::open(settings.clone(), shutdown).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        if !error.is_transient() || Instant::now() > deadline {
            return Err(error);
        }
        tracing::warn!(%error, "waiting for the database");
        sleep(backoff.next(random())).await;
    }
}

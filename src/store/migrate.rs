//! Brings the schema up to date: numbered, forward-only files of `sql/`, each in
//! a transaction, under a lock, so that nodes that start together take turns.

use super::address::tls;
use super::connect::{
    KEEPALIVE_COUNT, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, TCP_USER_TIMEOUT_S, connect_alone,
};
use super::{Settings, StoreError};
use crate::types::sha256;

/// Every migration, in order; its version is its place, from 1. Nodes of the version before
/// serve on beside it: what they call stays, and what the functions that they call do call.
const MIGRATIONS: &[&str] = &[
    include_str!("../../sql/0001_tables.sql"),
    include_str!("../../sql/0002_partitions.sql"),
    include_str!("../../sql/0003_stream.sql"),
    include_str!("../../sql/0004_groups.sql"),
    include_str!("../../sql/0005_replay_guard.sql"),
    include_str!("../../sql/0006_devices.sql"),
    include_str!("../../sql/0007_retention.sql"),
    include_str!("../../sql/0008_safety.sql"),
    include_str!("../../sql/0009_penalties.sql"),
    include_str!("../../sql/0010_key_package_claims.sql"),
    include_str!("../../sql/0011_rejoin.sql"),
    include_str!("../../sql/0012_blocks.sql"),
    include_str!("../../sql/0013_lone_send.sql"),
    include_str!("../../sql/0014_indexes.sql"),
    include_str!("../../sql/0015_rejoin_stock.sql"),
    include_str!("../../sql/0016_seats_and_packages.sql"),
    include_str!("../../sql/0017_penalty_keys.sql"),
    include_str!("../../sql/0018_stays_and_times.sql"),
    include_str!("../../sql/0019_bounds.sql"),
    include_str!("../../sql/0020_commits_and_repeats.sql"),
    include_str!("../../sql/0021_forgotten_times.sql"),
    include_str!("../../sql/0022_rejoining_devices.sql"),
    include_str!("../../sql/0023_seats.sql"),
    include_str!("../../sql/0024_calls.sql"),
    include_str!("../../sql/0025_answers.sql"),
    include_str!("../../sql/0026_ends.sql"),
    include_str!("../../sql/0027_calls_under_way.sql"),
    include_str!("../../sql/0028_names_and_locks.sql"),
    include_str!("../../sql/0029_large.sql"),
    include_str!("../../sql/0030_blocks_and_bites.sql"),
    include_str!("../../sql/0031_ends.sql"),
];

/// The schema of the version before, whose calls go on while this one's is made.
pub const SCHEMA_BEFORE: i32 = 30;

/// The role may have timeouts, which are for calls: a turn and an index take their time. But
/// whoever is gone in the middle of it, or says nothing more, keeps no other node waiting.
fn turn() -> String {
    format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
         SET LOCAL idle_in_transaction_session_timeout = '{TCP_USER_TIMEOUT_S}s'; \
         SET LOCAL tcp_keepalives_idle = {KEEPALIVE_IDLE_S}; \
         SET LOCAL tcp_keepalives_interval = {KEEPALIVE_INTERVAL_S}; \
         SET LOCAL tcp_keepalives_count = {KEEPALIVE_COUNT}; \
         SET LOCAL tcp_user_timeout = '{TCP_USER_TIMEOUT_S}s'; \
         SELECT pg_advisory_xact_lock(hashtext('mls-relay.migrate'))"
    )
}

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     NOT NULL PRIMARY KEY,
    checksum   bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT date_bin('2 seconds', clock_timestamp(), 'epoch'))";

/// The newest migration that this version knows.
pub(super) fn newest() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

pub(super) async fn migrate(settings: &Settings) -> Result<(), StoreError> {
    let url = &settings.database_url;
    let (mut client, connection) = connect_alone(url, settings, &tls(settings)?).await?;
    let driver = async {
        // An error of the connection is seen by the calls below.
        let _ = connection.await;
        Err(StoreError::Unavailable)
    };
    tokio::select! {
        done = apply(&mut client) => done,
        lost = driver => lost,
    }
}

async fn apply(client: &mut tokio_postgres::Client) -> Result<(), StoreError> {
    let known = newest();
    let mut is_first = true;
    loop {
        // Settings and lock are the transaction's, so that they also work through a pooler.
        let step = client.transaction().await?;
        step.batch_execute(&turn()).await?;
        let ledger = step.batch_execute(LEDGER).await;
        ledger.map_err(|error| told(error, "CREATE TABLE schema_migrations"))?;
        let applied = step
            .query(
                "SELECT version, checksum FROM schema_migrations ORDER BY version",
                &[],
            )
            .await?;
        for (row, text) in applied.iter().zip(MIGRATIONS) {
            if row.get::<_, &[u8]>("checksum") != checksum(text) {
                return Err(StoreError::SchemaChanged(row.get("version")));
            }
        }
        let found = applied.last().map_or(0, |row| row.get::<_, i32>("version"));
        if found > known {
            return Err(StoreError::SchemaTooNew { found, known });
        }
        let Some(next) = MIGRATIONS.get(applied.len()) else {
            return Ok(step.commit().await?);
        };
        if (1..SCHEMA_BEFORE).contains(&found) && is_first {
            tracing::warn!(
                found,
                before = SCHEMA_BEFORE,
                "the schema is older than that of the version before: nodes that serve by it may fail \
                 calls until they are replaced"
            );
        }
        is_first = false;
        let name = format!("migration {}", found + 1);
        let applied = step.batch_execute(next).await;
        applied.map_err(|error| told(error, &name))?;
        step.execute(
            "INSERT INTO schema_migrations (version, checksum) VALUES ($1, $2)",
            &[&(found + 1), &checksum(next)],
        )
        .await?;
        step.commit().await?;
    }
}

/// What will pass is told by whoever tries again.
fn told(error: tokio_postgres::Error, statement: &str) -> StoreError {
    let error = StoreError::from(error);
    if !error.is_transient() {
        tracing::warn!(%error, statement, "the schema cannot be brought up to date");
    }
    error
}

fn checksum(text: &str) -> Vec<u8> {
    sha256(text.as_bytes()).to_vec()
}

//! Brings the schema up to date: a new database gets the base, others what came after it; each
//! step in a transaction, under a lock, so that nodes that start together take turns.

use tokio_postgres::Transaction;

use super::address::tls;
use super::connect::{
    KEEPALIVE_COUNT, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, TCP_USER_TIMEOUT_S, connect_alone,
};
use super::{Settings, StoreError};
use crate::types::sha256;

/// The schema of the version before, whose calls go on while this one's is made.
pub const SCHEMA_BEFORE: i32 = 37;

/// That schema, by topic, in an order that Postgres accepts.
const BASE: &[&str] = &[
    include_str!("../../sql/base/01_conversations.sql"),
    include_str!("../../sql/base/02_stream.sql"),
    include_str!("../../sql/base/03_messages.sql"),
    include_str!("../../sql/base/04_partitions.sql"),
    include_str!("../../sql/base/05_devices.sql"),
    include_str!("../../sql/base/06_key_packages.sql"),
    include_str!("../../sql/base/07_members.sql"),
    include_str!("../../sql/base/08_welcomes.sql"),
    include_str!("../../sql/base/09_changes.sql"),
    include_str!("../../sql/base/10_rejoin.sql"),
    include_str!("../../sql/base/11_accounts.sql"),
    include_str!("../../sql/base/12_safety.sql"),
    include_str!("../../sql/base/13_once.sql"),
    include_str!("../../sql/base/14_penalties.sql"),
    include_str!("../../sql/base/15_secrets.sql"),
    include_str!("../../sql/base/16_ends.sql"),
];

/// What came after the base, forward only, one version each. Nodes of the version before
/// serve on beside it: what they call stays, and what the functions that they call do call.
///
/// With each release the migrations of the one before are folded into the base, whose version is
/// then `SCHEMA_BEFORE`. That is done when `pg_dump -s` and the rows of a database that they made
/// are those of one that the new base made.
const MIGRATIONS: &[&str] = &[
    include_str!("../../sql/0038_packages_of_a_device.sql"),
    include_str!("../../sql/0039_forgotten_nonces.sql"),
];

/// The role may have timeouts, which are for calls: a turn and an index take their time. But
/// whoever is gone in the middle of it, or says nothing more, keeps no other node waiting. And
/// where a day begins is written in the session's zone: Postgres takes the short name of some for
/// that of another.
fn session() -> String {
    format!(
        "SET LOCAL timezone = 'UTC'; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0; \
         SET LOCAL idle_in_transaction_session_timeout = '{TCP_USER_TIMEOUT_S}s'; \
         SET LOCAL tcp_keepalives_idle = {KEEPALIVE_IDLE_S}; \
         SET LOCAL tcp_keepalives_interval = {KEEPALIVE_INTERVAL_S}; \
         SET LOCAL tcp_keepalives_count = {KEEPALIVE_COUNT}; \
         SET LOCAL tcp_user_timeout = '{TCP_USER_TIMEOUT_S}s'"
    )
}

/// Waits for the turn, which is over with the transaction.
async fn take_turn(step: &Transaction<'_>) -> Result<(), StoreError> {
    let ask = "SELECT pg_try_advisory_xact_lock(hashtext('mls-relay.migrate'))";
    if !step.query_one(ask, &[]).await?.get::<_, bool>(0) {
        tracing::warn!("another node brings the schema up to date and is waited for");
        let wait = "SELECT pg_advisory_xact_lock(hashtext('mls-relay.migrate'))";
        step.batch_execute(wait).await?;
    }
    Ok(())
}

const LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer     NOT NULL PRIMARY KEY,
    checksum   bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT date_bin('2 seconds', clock_timestamp(), 'epoch'))";

/// What leads to a version of the schema: its texts, in order.
type Step = (i32, &'static [&'static str]);

/// Each step from nothing to the newest schema.
fn steps() -> impl Iterator<Item = Step> {
    (SCHEMA_BEFORE..).zip(std::iter::once(BASE).chain(MIGRATIONS.chunks(1)))
}

/// The newest schema that this version knows.
pub(super) fn newest() -> i32 {
    steps().last().map_or(0, |(version, _)| version)
}

pub(super) async fn migrate(settings: &Settings) -> Result<(), StoreError> {
    let url = &settings.database_url;
    let (mut client, connection) = connect_alone(url, settings, &tls(settings)?).await?;
    let encoding = connection.parameter("server_encoding");
    if let Some(other) = encoding.filter(|name| *name != "UTF8") {
        return Err(StoreError::Encoding(other.to_owned()));
    }
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
    loop {
        // Settings and lock are the transaction's, so that they also work through a pooler.
        let step = client.transaction().await?;
        step.batch_execute(&session()).await?;
        take_turn(&step).await?;
        let ledger = step.batch_execute(LEDGER).await;
        ledger.map_err(|error| told(error, "CREATE TABLE schema_migrations"))?;
        let rows = step
            .query(
                "SELECT version, checksum FROM schema_migrations ORDER BY version",
                &[],
            )
            .await?;
        let applied: Vec<_> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let Some((version, texts)) = due(&applied)? else {
            return Ok(step.commit().await?);
        };
        // Before it, since it may wait for a lock; and at warn, since release builds log no less:
        // whoever waits at an upgrade must see for what.
        tracing::warn!(version, "the schema is brought to its next version");
        let name = format!("schema version {version}");
        let made = step.batch_execute(&texts.concat()).await;
        made.map_err(|error| told(error, &name))?;
        step.execute(
            "INSERT INTO schema_migrations (version, checksum) VALUES ($1, $2)",
            &[&version, &checksum(texts)],
        )
        .await?;
        step.commit().await?;
    }
}

/// The step that is due after those that were applied, in their order and with their checksums;
/// nothing where the schema is the newest.
fn due(applied: &[(i32, Vec<u8>)]) -> Result<Option<Step>, StoreError> {
    let first = applied.first().map_or(0, |(version, _)| *version);
    let found = applied.last().map_or(0, |(version, _)| *version);
    let (base, known) = (SCHEMA_BEFORE, newest());
    if (1..base).contains(&found) {
        return Err(StoreError::SchemaTooOld { found, base });
    }
    if found > known {
        return Err(StoreError::SchemaTooNew { found, known });
    }
    // What the database was begun by need not be our base, but the files that became it, or the
    // base of a later version. Then what came after it is compared.
    let is_ours = |version| first == base || version > first.max(base);
    for (version, texts) in steps().filter(|(version, _)| is_ours(*version)) {
        let row = applied.iter().find(|(applied, _)| *applied == version);
        if row.is_some_and(|(_, applied)| *applied != checksum(texts)) {
            return Err(StoreError::SchemaChanged(version));
        }
    }
    Ok(steps().find(|(version, _)| *version > found))
}

/// What will pass is told by whoever tries again.
fn told(error: tokio_postgres::Error, statement: &str) -> StoreError {
    let error = StoreError::from(error);
    if !error.is_transient() {
        tracing::warn!(%error, statement, "the schema cannot be brought up to date");
    }
    error
}

fn checksum(texts: &[&str]) -> Vec<u8> {
    sha256(texts.concat().as_bytes()).to_vec()
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    /// The rows of these versions, as we write them, or empty where we do not have the texts.
    fn rows(versions: RangeInclusive<i32>) -> Vec<(i32, Vec<u8>)> {
        let row = |version| {
            let ours = steps().find(|(known, _)| *known == version);
            (version, ours.map_or(vec![], |(_, texts)| checksum(texts)))
        };
        versions.map(row).collect()
    }

    fn due_after(applied: &[(i32, Vec<u8>)]) -> Result<Option<i32>, StoreError> {
        Ok(due(applied)?.map(|(version, _)| version))
    }

    #[test]
    fn a_database_gets_the_base_and_then_each_migration() {
        assert_eq!(due_after(&[]), Ok(Some(SCHEMA_BEFORE)));
        for found in SCHEMA_BEFORE..newest() {
            let due = due_after(&rows(SCHEMA_BEFORE..=found));
            assert_eq!(due, Ok(Some(found + 1)));
        }
        assert_eq!(due_after(&rows(SCHEMA_BEFORE..=newest())), Ok(None));
    }

    #[test]
    fn a_text_that_was_changed_after_it_had_been_applied_is_noticed() {
        for changed in SCHEMA_BEFORE..=newest() {
            let mut applied = rows(SCHEMA_BEFORE..=newest());
            let place = usize::try_from(changed - SCHEMA_BEFORE).unwrap();
            applied[place].1.clear();
            let noticed = Err(StoreError::SchemaChanged(changed));
            assert_eq!(due_after(&applied), noticed);
        }
    }

    #[test]
    fn what_was_begun_by_texts_that_are_not_ours_is_taken_as_it_is() {
        // By the files that became the base.
        let mut applied = rows(1..=SCHEMA_BEFORE);
        applied.iter_mut().for_each(|row| row.1.clear());
        let due = due_after(&applied);
        assert_eq!(due, due_after(&rows(SCHEMA_BEFORE..=SCHEMA_BEFORE)));
        // By the base of a later version.
        assert_eq!(due_after(&[(newest(), vec![])]), Ok(None));
        // What came after it is compared.
        for later in SCHEMA_BEFORE + 1..=newest() {
            applied.push((later, vec![]));
            let noticed = Err(StoreError::SchemaChanged(later));
            assert_eq!(due_after(&applied), noticed);
            applied.pop();
            applied.extend(rows(later..=later));
        }
    }

    #[test]
    fn what_is_too_old_or_too_new_is_refused() {
        let (base, known) = (SCHEMA_BEFORE, newest());
        for found in [1, base - 1] {
            let refused = Err(StoreError::SchemaTooOld { found, base });
            assert_eq!(due_after(&rows(1..=found)), refused);
        }
        let found = known + 1;
        let refused = Err(StoreError::SchemaTooNew { found, known });
        assert_eq!(due_after(&rows(base..=found)), refused);
    }
}

//! Forgetting, under a lock that one node at a time holds: whole days as tables,
//! the rest in bites that no sender feels.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::AbortHandle;
use tokio_postgres::Client;
use tokio_postgres::types::FromSqlOwned;

use super::connect::{KEEPALIVE_COUNT, KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, TCP_USER_TIMEOUT_S};
use super::rows::{bound, count, get};
use super::{Params, Store, StoreError};

/// How far ahead of a node's clock that of Postgres, by which much is forgotten, may be: a minute
/// more or less is no age, and two clocks that are kept by NTP are never so far apart. What is
/// judged by a node's clock is remembered for so much longer.
pub const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// A connection that holds one task's lock, until it is dropped.
#[derive(Debug)]
pub struct Forgetting {
    client: Client,
    connection: AbortHandle,
    /// The longest run of one statement.
    timeout: Duration,
}

impl Store {
    /// Takes the lock of this task; `None` if another node is at it. The connection
    /// is the direct one: a transaction pooler would lose the lock.
    pub async fn forgetting(&self, task: &'static str) -> Result<Option<Forgetting>, StoreError> {
        let (client, connection) = self.connect_directly().await?;
        // Ends when the client is dropped; errors are seen by its calls.
        let connection = tokio::spawn(connection).abort_handle();
        let forgetting = Forgetting {
            client,
            connection,
            timeout: self.settings().forget_timeout,
        };
        let mine = forgetting.lock(task).await?;
        Ok(mine.then_some(forgetting))
    }
}

impl Forgetting {
    async fn lock(&self, task: &'static str) -> Result<bool, StoreError> {
        // A detach waits for running queries; sends must not wait for the detach. What is due is
        // found by an index: the beginning of a table, read for it, is what was forgotten before.
        let timeout = self.timeout.as_millis();
        let session = format!(
            "SET lock_timeout = '2s'; SET statement_timeout = {timeout}; \
             SET random_page_cost = 1.1; \
             SET tcp_keepalives_idle = {KEEPALIVE_IDLE_S}; \
             SET tcp_keepalives_interval = {KEEPALIVE_INTERVAL_S}; \
             SET tcp_keepalives_count = {KEEPALIVE_COUNT}; \
             SET tcp_user_timeout = '{TCP_USER_TIMEOUT_S}s'"
        );
        self.within(self.client.batch_execute(&session)).await?;
        let sql = "SELECT pg_try_advisory_lock(hashtext('mls-relay.retention'), hashtext($1))";
        self.value(sql, &[&task]).await
    }

    /// Waits for an answer. After the deadline the connection is cut off: one that waits
    /// for a server that says nothing would not end with its client.
    async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout + SILENCE_MAX, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.connection.abort();
                Err(StoreError::Timeout)
            }
        }
    }

    /// What a statement says in its one row and column.
    async fn value<T: FromSqlOwned>(&self, sql: &str, params: Params<'_>) -> Result<T, StoreError> {
        let row = self.within(self.client.query_one(sql, params)).await?;
        row.try_get(0).map_err(|_| StoreError::Shape)
    }

    /// What time Postgres has, which names the days.
    pub async fn now(&self) -> Result<DateTime<Utc>, StoreError> {
        self.value("SELECT clock_timestamp()", &[]).await
    }

    /// The names of a table's days, also of one whose dropping was cut off.
    pub async fn partitions(&self, parent: &str) -> Result<Vec<String>, StoreError> {
        let days = "SELECT c.relname::text AS name FROM pg_class c \
             WHERE c.relnamespace = (SELECT p.relnamespace FROM pg_class p \
                 WHERE p.oid = to_regclass($1)) \
             AND c.relkind = 'r' AND c.relname ~ ('^' || $1 || '_[0-9]{8}$') ORDER BY 1";
        let found = self.within(self.client.query(days, &[&parent])).await?;
        found.iter().map(|row| get(row, "name")).collect()
    }

    /// Remembers where the stream goes on, before its older days are dropped.
    pub async fn raise_stream_floor(&self, before: DateTime<Utc>) -> Result<(), StoreError> {
        let raise = "SELECT raise_stream_floor($1)";
        self.within(self.client.execute(raise, &[&before])).await?;
        Ok(())
    }

    /// Takes a day out of its table without stopping anybody; nothing to do where it is
    /// out already. Both names are from the catalogue.
    pub async fn detach(&self, parent: &str, partition: &str) -> Result<(), StoreError> {
        let pending =
            "SELECT inhdetachpending AS pending FROM pg_inherits WHERE inhrelid = to_regclass($1)";
        let link = self
            .within(self.client.query(pending, &[&partition]))
            .await?;
        if let Some(row) = link.first() {
            let how = match get(row, "pending")? {
                true => "FINALIZE",
                false => "CONCURRENTLY",
            };
            let detach = format!("ALTER TABLE \"{parent}\" DETACH PARTITION \"{partition}\" {how}");
            self.within(self.client.batch_execute(&detach)).await?;
        }
        Ok(())
    }

    /// Drops a day that was detached: its files are unlinked.
    pub async fn drop_detached(&self, partition: &str) -> Result<(), StoreError> {
        let drop = format!("DROP TABLE \"{partition}\"");
        self.within(self.client.batch_execute(&drop)).await
    }

    /// Welcomes that were confirmed longer ago than this.
    pub async fn confirmed_welcomes(&self, older: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_welcomes(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&older.as_secs_f64()]).await
    }

    /// Welcomes older than this that nobody has confirmed, and whose next commit is gone.
    pub async fn unconfirmed_welcomes(&self, older: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_unconfirmed_welcomes(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&older.as_secs_f64()]).await
    }

    /// Welcomes older than this that nobody has confirmed, wherever they lead.
    pub async fn old_welcomes(&self, older: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_old_welcomes(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&older.as_secs_f64()]).await
    }

    /// Reports that were dealt with longer ago than this.
    pub async fn reports(&self, older: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_reports(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&older.as_secs_f64()]).await
    }

    /// Conversations that ended longer ago than this, with all that hangs on them, when no message
    /// and no event is left of them.
    pub async fn conversations(&self, older: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_conversations(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&older.as_secs_f64()]).await
    }

    /// Expired key packages, and consumed ones older than this.
    pub async fn key_packages(&self, consumed: Duration) -> Result<u64, StoreError> {
        let sql = "SELECT forget_key_packages(make_interval(secs => $1), $2)";
        self.in_bites(sql, &[&consumed.as_secs_f64()]).await
    }

    /// Unclaimed key packages over the bound of a device: it had them when that was higher.
    pub async fn surplus_key_packages(&self, per_device: u32) -> Result<u64, StoreError> {
        let sql = "SELECT gone, after FROM forget_surplus_key_packages($1, $2, $3)";
        let mut total = 0;
        let mut after = Some(String::new());
        while let Some(last) = &after {
            let params: Params<'_> = &[&bound(per_device), last, &ACCOUNTS_BITE];
            let row = self.within(self.client.query_one(sql, params)).await?;
            total += count(&row, "gone")?;
            after = get(&row, "after")?;
        }
        Ok(total)
    }

    /// Nonces whose tokens have expired.
    pub async fn jtis(&self) -> Result<u64, StoreError> {
        self.in_bites("SELECT forget_jtis($1)", &[]).await
    }

    /// Answers whose time is over.
    pub async fn idempotency_keys(&self) -> Result<u64, StoreError> {
        self.in_bites("SELECT forget_idempotency_keys($1)", &[])
            .await
    }

    /// Counts of claims whose time is over.
    pub async fn claims(&self) -> Result<u64, StoreError> {
        self.in_bites("SELECT forget_claims($1)", &[]).await
    }

    /// Calls a function of `sql/` until it has nothing left; its last parameter
    /// is the size of a bite.
    async fn in_bites(&self, sql: &str, params: Params<'_>) -> Result<u64, StoreError> {
        let mut params = params.to_vec();
        params.push(&BITE);
        let mut total = 0;
        loop {
            let gone: i64 = self.value(sql, &params).await?;
            total += u64::try_from(gone).unwrap_or_default();
            if gone < i64::from(BITE) {
                return Ok(total);
            }
        }
    }
}

/// Postgres cancels first; this is for a server or a network that fell silent.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// A few milliseconds of work, so that no lock is held long.
const BITE: i32 = 2000;

/// Accounts whose packages are counted at once: with two hundred each a hundredth of a second.
const ACCOUNTS_BITE: i32 = 200;

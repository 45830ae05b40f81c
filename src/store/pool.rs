//! Connections that calls share, and what runs a statement on one of them and reads its rows.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::FromSqlOwned;

use super::call::Call;
use super::connect::{Connector, LastFailure};
use super::{Params, StoreError};
use crate::runtime::Shutdown;

/// Connections that are shared. Clones are the same pool.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    connections: bb8::Pool<Connector>,
    failure: LastFailure,
    days_ahead: i32,
    disk: Disk,
    shutdown: Shutdown,
}

/// What statements have told of Postgres' disk. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<Option<Instant>>>);

impl Disk {
    /// How long ago it was full, if it ever was.
    pub(super) fn last_full(&self) -> Option<Duration> {
        self.0.lock().map(|at| at.elapsed())
    }

    fn note_full(&self) {
        *self.0.lock() = Some(Instant::now());
    }
}

/// A connection of a pool, which goes back there when it is dropped, if it is not broken.
pub(super) type Taken = bb8::PooledConnection<'static, Connector>;

impl Connector {
    /// A pool of at most `size` connections, opened when first needed. The one that was
    /// used last goes first: its process has in its caches what the next call needs.
    pub(super) fn pool(
        self,
        size: u32,
        acquire: Duration,
        disk: &Disk,
        shutdown: &Shutdown,
    ) -> Pool {
        let (failure, days_ahead) = (Arc::clone(&self.failure), self.days_ahead);
        let connections = bb8::Pool::builder()
            .max_size(size)
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .connection_timeout(acquire)
            .test_on_check_out(false)
            .build_unchecked(self);
        Pool {
            connections,
            failure,
            days_ahead,
            disk: disk.clone(),
            shutdown: shutdown.clone(),
        }
    }
}

impl Pool {
    /// Runs one statement, and reads each of its rows.
    pub(super) async fn all<T>(
        &self,
        sql: &'static str,
        params: Params<'_>,
        read: impl FnMut(&Row) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        self.query(sql, params).await?.iter().map(read).collect()
    }

    /// Of a statement that has one row, if any.
    pub(super) async fn first<T>(
        &self,
        sql: &'static str,
        params: Params<'_>,
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.query(sql, params).await?;
        rows.first().map(read).transpose()
    }

    /// Of a statement that always has a row.
    pub(super) async fn one<T>(
        &self,
        sql: &'static str,
        params: Params<'_>,
        read: impl FnOnce(&Row) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let first = self.first(sql, params, read).await?;
        first.ok_or(StoreError::Shape)
    }

    /// Of a statement that always has a row, of one column.
    pub(super) async fn value<T: FromSqlOwned>(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<T, StoreError> {
        let read = |row: &Row| row.try_get(0).map_err(|_| StoreError::Shape);
        self.one(sql, params, read).await
    }

    pub(super) async fn execute(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<(), StoreError> {
        self.query(sql, params).await.map(drop)
    }

    pub(super) async fn query(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let answer = self.query_on_its_day(sql, params).await;
        if let Err(error) = &answer {
            metrics::counter!("relay_store_errors_total", "kind" => error.label()).increment(1);
        }
        answer
    }

    /// Where a statement finds no table for the day, it makes those of the coming
    /// days first: a machine that slept for a week has a clock that leaps, and its next
    /// maintenance may be an hour away. Nothing of the first attempt is left.
    async fn query_on_its_day(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        match self.attempt(sql, params).await {
            Err(StoreError::NoDay) => {
                self.attempt(ENSURE_PARTITIONS, &[&self.days_ahead]).await?;
                self.attempt(sql, params).await
            }
            first => first,
        }
    }

    /// Runs one statement on a connection of its own for as long.
    async fn attempt(&self, sql: &'static str, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let connection = self.get().await?;
        let answer = Call::new(connection, sql, &self.shutdown).run(params).await;
        if let Err(error) = answer.as_ref()
            && !matches!(error, StoreError::Contention(_) | StoreError::Unavailable)
        {
            tracing::warn!(%error, statement = %beginning(sql), "a statement failed");
            if let StoreError::DiskFull = error {
                self.disk.note_full();
            }
        }
        answer
    }

    /// A connection. Those that Postgres has closed meanwhile are passed over: nothing
    /// was sent on them.
    async fn get(&self) -> Result<Taken, StoreError> {
        loop {
            let connection = self
                .connections
                .get_owned()
                .await
                .map_err(|error| self.none(error))?;
            // A dead one is dropped here, and the pool opens another in its place.
            if !connection.is_broken() {
                return Ok(connection);
            }
        }
    }

    /// Without a failure, all are in use.
    fn none(&self, error: bb8::RunError<StoreError>) -> StoreError {
        match error {
            bb8::RunError::User(error) => error,
            bb8::RunError::TimedOut => {
                let failure = self.failure.lock().clone();
                failure.unwrap_or(StoreError::Unavailable)
            }
        }
    }

    pub(crate) fn state(&self) -> bb8::State {
        self.connections.state()
    }
}

/// Makes the tables of the coming days, which begin yesterday.
pub(super) const ENSURE_PARTITIONS: &str = "SELECT ensure_partitions($1)";

/// Enough of a statement to find it by. It is our own text: values are its parameters.
fn beginning(sql: &'static str) -> String {
    let words: Vec<&str> = sql.split_whitespace().take(STATEMENT_WORDS).collect();
    words.join(" ")
}

const STATEMENT_WORDS: usize = 8;

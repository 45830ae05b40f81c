//! Connections to Postgres: session settings, prepared statements kept per connection, and a
//! deadline on every call.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bb8::ManageConnection;
use bb8_postgres::PostgresConnectionManager;
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{client_config, hosts, open_timeout};
use super::call::Call;
use super::era::{Era, Eras};
use super::{DatabaseUrl, Settings, StoreError};
use crate::runtime::Shutdown;
use crate::types::unprintable;

pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

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

/// Makes connections for a pool.
pub(crate) struct Connector {
    postgres: PostgresConnectionManager<MakeRustlsConnect>,
    statement_timeout: Duration,
    open_timeout: Duration,
    /// Where the database is looked for.
    hosts: String,
    plans: &'static str,
    days_ahead: i32,
    failure: LastFailure,
    eras: Eras,
}

unprintable!(Connector);

/// Why the last attempt to connect failed, if it did: whoever waits for a connection is
/// told, and not just that none came.
type LastFailure = Arc<Mutex<Option<StoreError>>>;

/// A connection with the statements it has prepared.
pub(crate) struct Connection {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// A statement is under way, or its call ran out of time or went away: its answer may
    /// still come, and nobody may use it before.
    spoiled: AtomicBool,
    era: Era,
    eras: Eras,
    deadline: Duration,
}

impl Connector {
    pub(super) fn new(
        settings: &Settings,
        tls: &ClientConfig,
        eras: &Eras,
    ) -> Result<Self, StoreError> {
        let config = client_config(&settings.database_url)?;
        Ok(Self {
            open_timeout: open_timeout(&config, settings),
            hosts: hosts(&config),
            postgres: PostgresConnectionManager::new(config, MakeRustlsConnect::new(tls.clone())),
            statement_timeout: settings.statement_timeout,
            plans: PLANNED_EACH_TIME,
            days_ahead: settings.partition_days_ahead.into(),
            failure: LastFailure::default(),
            eras: eras.clone(),
        })
    }

    /// Postgres plans each statement once a connection, and not with every call: of a
    /// send that is alone in its batch, planning took as long as the work. A plan that
    /// stays must not depend on how large a table was when it was made (a day's is empty
    /// at midnight), so every row is found by its key.
    pub(crate) fn planning_once(self) -> Self {
        Self {
            plans: PLANNED_ONCE,
            ..self
        }
    }

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

    async fn open(&self) -> Result<Client, StoreError> {
        let opened = tokio::time::timeout(self.open_timeout, self.open_at_leisure()).await;
        let opened = opened.unwrap_or_else(|_| Err(StoreError::Unreachable(SILENT.to_owned())));
        opened.map_err(|error| error.at(&self.hosts))
    }

    /// A session in which nothing can be written is as good as none: a call would find that
    /// out half-way, and health never.
    async fn open_at_leisure(&self) -> Result<Client, StoreError> {
        let client = self.postgres.connect().await;
        let client = client.map_err(|error| StoreError::opening(&error))?;
        let (timeout, plans) = (self.statement_timeout.as_millis(), self.plans);
        // SET and not start-up options, which poolers refuse.
        let session = format!(
            "SET statement_timeout = {timeout}; SET lock_timeout = {timeout}; \
             SET idle_in_transaction_session_timeout = {timeout}; {plans} \
             SET timezone = 'UTC'; SELECT follow_timeline(); SHOW transaction_read_only"
        );
        let said = client.simple_query(&session).await;
        let said = said.map_err(|error| StoreError::opening(&error))?;
        match is_read_only(&said) {
            true => Err(StoreError::ReadOnly),
            false => Ok(client),
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

impl ManageConnection for Connector {
    type Connection = Connection;
    type Error = StoreError;

    async fn connect(&self) -> Result<Connection, StoreError> {
        let era = self.eras.now();
        let opened = self.open().await;
        *self.failure.lock() = opened.as_ref().err().cloned();
        let client = opened?;
        Ok(Connection {
            client,
            statements: Mutex::default(),
            spoiled: AtomicBool::new(false),
            era,
            eras: self.eras.clone(),
            // Postgres cancels first; this is for a network that swallows.
            deadline: self.statement_timeout + Duration::from_secs(1),
        })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), StoreError> {
        connection.client.simple_query("").await?;
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken()
    }
}

impl Connection {
    /// Whether it was lost, or an answer may still come that nobody waits for, or it may be
    /// with a server that takes no writes.
    pub(crate) fn is_broken(&self) -> bool {
        self.client.is_closed()
            || self.spoiled.load(Ordering::Relaxed)
            || self.era != self.eras.now()
    }

    /// Runs one statement, prepared once per connection.
    pub(crate) async fn query(
        &self,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let run = async {
            let statement = self.statement(sql).await?;
            Ok(self.client.query(&statement, params).await?)
        };
        self.spoiled.store(true, Ordering::Relaxed);
        let answer = tokio::time::timeout(self.deadline, run).await;
        let answer = answer.map_err(|_| StoreError::Timeout)?;
        self.spoiled.store(false, Ordering::Relaxed);
        // The next session may be given to a server that takes writes, or be allowed to.
        if let Err(StoreError::ReadOnly) = answer {
            self.eras.end(self.era);
        }
        answer
    }

    /// Whether a statement was left in the middle, and its answer may still come.
    pub(super) fn is_left(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed) && !self.client.is_closed()
    }

    /// Waits, as long as for any statement, until what was left in the middle has its
    /// answer. Then the connection can be used again.
    pub(super) async fn settle(&self, sql: &'static str) {
        let answered = async {
            // Whoever left may not have got as far: Postgres knows the statement by a name
            // that was lost, and loses no second one.
            self.statement(sql).await?;
            // Postgres answers in turn.
            self.client.simple_query("").await?;
            Ok::<_, StoreError>(())
        };
        if let Ok(Ok(())) = tokio::time::timeout(self.deadline, answered).await {
            self.spoiled.store(false, Ordering::Relaxed);
        }
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, StoreError> {
        if let Some(statement) = self.statements.lock().get(sql) {
            return Ok(statement.clone());
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().insert(sql, statement.clone());
        Ok(statement)
    }
}

/// Makes the tables of the coming days, which begin yesterday.
pub(super) const ENSURE_PARTITIONS: &str = "SELECT ensure_partitions($1)";

/// What `SHOW transaction_read_only` has answered, after everything else.
fn is_read_only(said: &[SimpleQueryMessage]) -> bool {
    let rows = said.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    rows.last() == Some("on")
}

/// Enough of a statement to find it by. It is our own text: values are its parameters.
fn beginning(sql: &'static str) -> String {
    let words: Vec<&str> = sql.split_whitespace().take(STATEMENT_WORDS).collect();
    words.join(" ")
}

const STATEMENT_WORDS: usize = 8;

/// A connection outside the pools, for migrations and for LISTEN. Give the second
/// half to a task that polls it.
pub(crate) async fn connect_alone(
    url: &DatabaseUrl,
    settings: &Settings,
    tls: &ClientConfig,
) -> Result<
    (
        Client,
        tokio_postgres::Connection<
            tokio_postgres::Socket,
            <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket>>::Stream,
        >,
    ),
    StoreError,
>{
    let config = client_config(url)?;
    let limit = open_timeout(&config, settings);
    let connect = config.connect(MakeRustlsConnect::new(tls.clone()));
    let connected = tokio::time::timeout(limit, connect).await;
    let connected = match connected {
        Ok(connected) => connected.map_err(|error| StoreError::connecting(&error)),
        Err(_) => Err(StoreError::Unreachable(SILENT.to_owned())),
    };
    connected.map_err(|error| error.at(&hosts(&config)))
}

const SILENT: &str = "it takes connections and does not answer";

/// When Postgres asks a session that holds a lock for all nodes whether its node still lives,
/// and how often before it is given up: a minute after the last word, and not two hours.
pub(super) const KEEPALIVE_IDLE_S: u32 = 30;
pub(super) const KEEPALIVE_INTERVAL_S: u32 = 10;
pub(super) const KEEPALIVE_COUNT: u32 = 3;
/// And how long what it has said may stay unacknowledged.
pub(super) const TCP_USER_TIMEOUT_S: u32 = 60;

/// What a call asks for is little and has an index, whose pages are mostly in memory. By itself
/// Postgres reads a whole table where it expects some hundred rows of it, or none, as in a day
/// that was empty when the plan was made; and starting more processes, or a compiler, takes
/// longer than a call.
const PLANNED_EACH_TIME: &str = "SET plan_cache_mode = auto; SET enable_seqscan = off; \
     SET random_page_cost = 1.1; SET max_parallel_workers_per_gather = 0; SET jit = off;";

const PLANNED_ONCE: &str = "SET plan_cache_mode = force_generic_plan; \
     SET enable_seqscan = off; SET enable_bitmapscan = off; \
     SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;";

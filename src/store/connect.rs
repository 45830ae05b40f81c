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
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage, Socket, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::{client_config, hosts, open_timeout};
use super::era::{Era, Eras};
use super::{DatabaseUrl, Params, Settings, Store, StoreError};
use crate::types::unprintable;

/// Makes connections for a pool.
pub(crate) struct Connector {
    door: Door,
    postgres: PostgresConnectionManager<MakeRustlsConnect>,
    statement_timeout: Duration,
    plans: &'static str,
    pub(super) days_ahead: i32,
    pub(super) failure: LastFailure,
    eras: Eras,
}

unprintable!(Connector);

/// Why the last attempt to connect failed, if it did: whoever waits for a connection is
/// told, and not just that none came.
pub(super) type LastFailure = Arc<Mutex<Option<StoreError>>>;

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
        let door = Door::to(&settings.database_url, settings, tls)?;
        Ok(Self {
            postgres: PostgresConnectionManager::new(door.config.clone(), door.tls.clone()),
            door,
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

    async fn open(&self) -> Result<Client, StoreError> {
        self.door.within(self.open_at_leisure()).await
    }

    /// A session in which nothing can be written is as good as none: a call would find that
    /// out half-way, and health never.
    async fn open_at_leisure(&self) -> Result<Client, StoreError> {
        let client = self.postgres.connect().await;
        let client = client.map_err(|error| StoreError::opening(&error))?;
        let (timeout, plans) = (self.statement_timeout.as_millis(), self.plans);
        // Over before the statement's, so that who waits for a lock is told of the lock.
        let lock_timeout = (self.statement_timeout * 4 / 5).as_millis();
        // SET and not start-up options, which poolers refuse.
        let session = format!(
            "SET statement_timeout = {timeout}; SET lock_timeout = {lock_timeout}; \
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

/// What `SHOW transaction_read_only` has answered, after everything else.
fn is_read_only(said: &[SimpleQueryMessage]) -> bool {
    let rows = said.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    rows.last() == Some("on")
}

/// A connection, and what is to be polled for it by a task.
type Session = (Client, tokio_postgres::Connection<Socket, Stream>);
pub(super) type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// The way to Postgres.
struct Door {
    config: Config,
    tls: MakeRustlsConnect,
    /// How long it may take to come in.
    limit: Duration,
}

impl Door {
    fn to(url: &DatabaseUrl, settings: &Settings, tls: &ClientConfig) -> Result<Self, StoreError> {
        let config = client_config(url)?;
        Ok(Self {
            limit: open_timeout(&config, settings),
            config,
            tls: MakeRustlsConnect::new(tls.clone()),
        })
    }

    async fn within<T>(
        &self,
        opening: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let opened = tokio::time::timeout(self.limit, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(StoreError::Unreachable(SILENT.to_owned())));
        opened.map_err(|error| error.at(&hosts(&self.config)))
    }
}

/// A connection outside the pools. Give the second half to a task that polls it.
pub(crate) async fn connect_alone(
    url: &DatabaseUrl,
    settings: &Settings,
    tls: &ClientConfig,
) -> Result<Session, StoreError> {
    let door = Door::to(url, settings, tls)?;
    let open = async {
        let opened = door.config.connect(door.tls.clone()).await;
        opened.map_err(|error| StoreError::connecting(&error))
    };
    door.within(open).await
}

impl Store {
    /// One past any pooler: which would lose a lock, and what LISTEN asks for.
    pub(super) async fn connect_directly(&self) -> Result<Session, StoreError> {
        let settings = self.settings();
        let url = settings.listen_url.as_ref();
        let url = url.unwrap_or(&settings.database_url);
        connect_alone(url, settings, &self.0.tls).await
    }
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

//! Pure. What the store may be told.

use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::types::unprintable;

/// A Postgres connection string, which holds a password.
///
/// The default is the empty string: whatever a Postgres client takes for granted.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct DatabaseUrl(String);

unprintable!(DatabaseUrl);

impl DatabaseUrl {
    /// Checks the string as libpq-style key-value pairs or a `postgres://` URL. What follows a
    /// bare `@` in a password is taken for the host, which the log tells: no host has one.
    pub fn parse(text: &str) -> Result<Self, DatabaseUrlError> {
        let config: Config = text.parse().map_err(|_| DatabaseUrlError::Unreadable)?;
        let is_misread = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
        match config.get_hosts().iter().any(is_misread) {
            true => Err(DatabaseUrlError::BareAt),
            false => Ok(Self(text.to_owned())),
        }
    }

    /// The raw string, password and all.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The string is not one that Postgres clients understand as it is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DatabaseUrlError {
    #[error("an @ in a password is written %40")]
    BareAt,
    #[error("must be a postgres:// URL or libpq key=value pairs")]
    Unreadable,
}

/// How the store reaches Postgres, and how much it may hold at once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the tables are. May be a pooler.
    pub database_url: DatabaseUrl,
    /// Where LISTEN works: directly to Postgres. Default: the same.
    pub listen_url: Option<DatabaseUrl>,
    /// Trust anchor in PEM for TLS to Postgres; default: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Connections for everything but sends and following the stream; about twice the cores of Postgres.
    pub connections_max: u32,
    /// Connections that append sends. More than 4 only wait for each other.
    pub committers: u32,
    /// Longest wait for a free connection.
    pub acquire_timeout: Duration,
    /// Longest run of one statement; it waits for a lock for at most four fifths of that.
    pub statement_timeout: Duration,
    /// Whoever holds a conversation for so long, after sends into it did not end in time, keeps
    /// nobody waiting who writes into another.
    pub held_up_after: Duration,
    /// Longest run of one statement that forgets.
    pub forget_timeout: Duration,
    /// Sessions that wait for one kind of what is read for many at once.
    pub reads_queue_max: usize,
    /// Sends that wait for a committer; over it, 503.
    pub append_queue_max: usize,
    /// Sends in one transaction, and their bytes.
    pub append_batch_max: usize,
    pub append_batch_bytes_max: usize,
    /// Nonces that wait to be checked; over it, 503.
    pub jti_queue_max: usize,
    /// How far back a repeated message id is recognised.
    pub repeat_window: Duration,
    /// Days of partitions that stand ready.
    pub partition_days_ahead: u16,
    /// Devices in one conversation.
    pub members_max: u32,
}

impl Settings {
    /// The defaults, for a database at this address.
    pub fn for_database(database_url: DatabaseUrl) -> Self {
        Self {
            database_url,
            listen_url: None,
            ca_file: None,
            connections_max: 8,
            committers: 2,
            acquire_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            held_up_after: Duration::from_millis(75),
            forget_timeout: Duration::from_secs(10 * 60),
            // As many sessions as a node may be asked to wake at once.
            reads_queue_max: 65_536,
            append_queue_max: 4096,
            append_batch_max: 64,
            append_batch_bytes_max: 4 << 20,
            jti_queue_max: 4096,
            repeat_window: Duration::from_secs(24 * 60 * 60),
            partition_days_ahead: 3,
            members_max: 1000,
        }
    }

    /// Connections to Postgres that there may be at once: calls', committers', the queue of
    /// nonces' and the listener's, those that follow the stream, and one for each task of
    /// retention.
    pub fn connections_in_all(&self) -> u32 {
        self.connections_max + self.committers + 2 + STREAM_CONNECTIONS + RETENTION_TASKS
    }

    /// For two statements one after the other, such as the batch under way and one's own:
    /// whoever waits longer is behind an outage.
    pub(super) fn batch_patience(&self) -> Duration {
        (self.acquire_timeout + self.statement_timeout) * 2
    }
}

/// One reads where the stream ends, and one rings or reads what was missed. Once a second
/// health asks between two of those, which are short.
pub(super) const STREAM_CONNECTIONS: u32 = 2;

/// How long they wait for one of these, however little calls may wait: that there was none for a
/// moment, on a busy machine, must not look as if Postgres were away. Less than health waits in
/// all, so that it hears why there is none.
pub(super) const STREAM_PATIENCE: Duration = Duration::from_secs(2);

/// Of `retention::task`.
const RETENTION_TASKS: u32 = 3;

impl Default for Settings {
    fn default() -> Self {
        Self::for_database(DatabaseUrl::default())
    }
}

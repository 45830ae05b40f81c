//! The only door to Postgres. Every statement is here or in `sql/`, has an index
//! that serves it and a deadline, and speaks in the types of the relay.

mod accounts;
mod address;
mod admins;
mod announced;
mod appender;
mod blocks;
mod call;
mod connect;
mod consent;
mod conversations;
mod devices;
mod era;
mod error;
mod events;
mod forgetting;
mod group_change;
mod held_up;
mod idempotency;
mod key_packages;
mod listen;
mod loader;
mod messages;
mod migrate;
mod penalties;
mod pool;
mod queue;
mod rejoin;
mod replay_guard;
mod reports;
mod rows;
mod secrets;
mod settings;
mod standstill;
mod tls;
mod welcomes;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::ClientConfig;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::runtime::Shutdown;
use crate::wire;

pub use accounts::DeletedAccount;
pub use admins::{GroupInfoOutcome, RoleOutcome};
pub use announced::{ANNOUNCED_BYTES_MAX, Announced};
pub use appender::{AppendError, Appended, NewMessage};
pub use blocks::{AffectedConvo, Said};
pub use conversations::{Conversation, Standing};
pub use devices::{DeletedDevice, NewDevice, SyncedKeyPackages};
pub use error::StoreError;
pub use events::{Ends, Envelope, Membership, Run, StoredEvent, Topic};
pub use forgetting::{CLOCKS_APART_MAX, Forgetting};
pub use group_change::{
    ChangeOutcome, GroupChange, Joining, Leaving, NewCommit, NewConversation, NewReceipt,
    Rejoining, SeatBounds,
};
pub use idempotency::{Lease, Reservation};
pub use key_packages::{Claim, ClaimOutcome, ClaimedKeyPackage, NewKeyPackage, PublishOutcome};
pub use listen::{Notification, Notifications};
pub use messages::{MessageKind, StoredMessage};
pub use migrate::SCHEMA_BEFORE;
pub use penalties::SharedStay;
pub use rejoin::{RejoinOutcome, RejoinRequest};
pub use replay_guard::Nonce;
pub use reports::{ReportOutcome, ResolveOutcome};
pub use settings::{DatabaseUrl, DatabaseUrlError, Settings};
pub use tls::AcmeRecord;
pub use welcomes::WelcomeAnswer;

use announced::AnnouncedMessages;
use appender::Appender;
use connect::Connector;
use era::Eras;
use events::SharedEnds;
use loader::Loader;
use pool::{Disk, ENSURE_PARTITIONS, Pool};
use replay_guard::ReplayGuard;
use rows::get;
use settings::{STREAM_CONNECTIONS, STREAM_PATIENCE};

/// What a statement is given.
type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// The handle that everyone shares.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    /// For connections outside the pools.
    tls: ClientConfig,
    pool: Pool,
    /// For following the stream, and for health: both must not wait for calls.
    stream: Pool,
    disk: Disk,
    appender: Appender,
    replay_guard: ReplayGuard,
    announced: AnnouncedMessages,
    memberships: Loader<Membership>,
    positions: Loader<wire::Standing>,
    ends: SharedEnds,
}

impl Store {
    /// Brings the schema up to date, then starts the committers. Fails if Postgres
    /// cannot be reached: try again.
    pub async fn open(settings: Settings, shutdown: &Shutdown) -> Result<Self, StoreError> {
        migrate::migrate(&settings).await?;
        let (disk, eras) = (Disk::default(), Eras::default());
        let tls = address::tls(&settings)?;
        let stream = Connector::new(&settings, &tls, &eras)?;
        let stream = stream.pool(STREAM_CONNECTIONS, STREAM_PATIENCE, &disk, shutdown);
        let pool = |connector: Connector, size| {
            connector.pool(size, settings.acquire_timeout, &disk, shutdown)
        };
        let committers = Connector::new(&settings, &tls, &eras)?.planning_once();
        let committers = pool(committers, settings.committers + 1);
        let pool = pool(
            Connector::new(&settings, &tls, &eras)?,
            settings.connections_max,
        );
        Ok(Self(Arc::new(Inner {
            appender: Appender::start(&settings, committers.clone(), shutdown),
            replay_guard: replay_guard::start(&settings, committers, shutdown),
            announced: announced::start(&settings, pool.clone(), shutdown),
            memberships: Loader::start(
                "memberships",
                &settings,
                pool.clone(),
                shutdown,
                (events::MEMBERSHIPS, events::membership),
            ),
            ends: events::share_ends(&settings, stream.clone(), shutdown),
            positions: Loader::start(
                "positions",
                &settings,
                pool.clone(),
                shutdown,
                (events::POSITIONS, events::position),
            ),
            pool,
            stream,
            disk,
            settings,
            tls,
        })))
    }

    /// Brings the schema up to date and nothing else.
    pub async fn migrate(settings: &Settings) -> Result<(), StoreError> {
        migrate::migrate(settings).await
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// How busy the pool of connections is.
    pub fn pool_usage(&self) -> PoolUsage {
        let state = self.0.pool.state();
        PoolUsage {
            open: state.connections,
            idle: state.idle_connections,
            most: self.0.settings.connections_max,
            given_up: state.statistics.get_timed_out,
        }
    }

    /// How long ago a statement found Postgres' disk full, if one ever did.
    pub fn disk_last_full(&self) -> Option<Duration> {
        self.0.disk.last_full()
    }

    /// What Postgres is like now; fails if nothing can be written. Asked beside the calls, so
    /// that the answer tells of Postgres and not of how busy they are.
    pub async fn vitals(&self) -> Result<Vitals, StoreError> {
        // Asked as a writer, who is refused where a reader would go on reading. And a pooler may have
        // led this session to a copy that was promoted since.
        let sql = "WITH nothing AS (UPDATE stream_floor SET seq = seq WHERE false)
            SELECT coalesce(max(version), 0) AS version, clock_timestamp() AS time,
                   follow_timeline()
            FROM schema_migrations";
        let read = |row: &Row| {
            Ok(Vitals {
                schema: (get(row, "version")?, migrate::newest()),
                time: get(row, "time")?,
            })
        };
        self.0.stream.one(sql, &[], read).await
    }

    /// Makes the partitions of the coming days.
    pub async fn ensure_partitions(&self) -> Result<(), StoreError> {
        let days = i32::from(self.0.settings.partition_days_ahead);
        self.calls().execute(ENSURE_PARTITIONS, &[&days]).await
    }

    /// The connections that calls share.
    fn calls(&self) -> &Pool {
        &self.0.pool
    }
}

/// What Postgres is like at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Vitals {
    /// The newest migration that the database knows, and the newest that we know.
    pub schema: (i32, i32),
    /// What time it is there.
    pub time: DateTime<Utc>,
}

/// Connections of the pool that everything shares but sends and what follows the stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolUsage {
    pub open: u32,
    pub idle: u32,
    /// `database.connections_max`.
    pub most: u32,
    /// Statements that found no free connection in time, since the start.
    pub given_up: u64,
}

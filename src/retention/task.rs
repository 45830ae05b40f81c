//! The tasks: what is due, under the lock that one node holds, and how it went.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use super::clocks::Clocks;
use super::status::{Outcome, Status, TaskStatus};
use super::{Settings, days};
use crate::runtime::{Backoff, Live, Shutdown, random, survive};
use crate::store::{Forgetting, Store, StoreError};

/// The background tasks, and what health says of them.
#[derive(Clone, Debug)]
pub struct Retention(Arc<Mutex<Status>>);

#[derive(Clone, Copy, Debug)]
enum Task {
    Days,
    KeyPackages,
    Nonces,
}

impl Task {
    const ALL: [Self; 3] = [Self::Days, Self::KeyPackages, Self::Nonces];

    fn name(self) -> &'static str {
        match self {
            Self::Days => "days",
            Self::KeyPackages => "key_packages",
            Self::Nonces => "nonces",
        }
    }

    fn interval(self, settings: &Settings) -> Duration {
        match self {
            Self::Days => settings.hourly,
            Self::KeyPackages => settings.key_package_interval,
            Self::Nonces => settings.jti_interval,
        }
    }

    fn status(self, status: &mut Status) -> &mut TaskStatus {
        match self {
            Self::Days => &mut status.days,
            Self::KeyPackages => &mut status.key_packages,
            Self::Nonces => &mut status.nonces,
        }
    }
}

/// Tells the node's time.
pub type NodeClock = fn() -> DateTime<Utc>;

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("Postgres' clock is ahead of this node's, so nothing is forgotten by it")]
    Clocks,
    #[error(
        "the last days have no tables before them, so no relay ran or all clocks were set ahead; \
         nothing old is forgotten before the third day after"
    )]
    Leap,
    #[error("it has panicked")]
    Panicked,
}

impl Retention {
    /// Starts the tasks.
    pub fn start(store: &Store, settings: &Live<Settings>, shutdown: &Shutdown) -> Self {
        Self::start_by(Utc::now, store, settings, shutdown)
    }

    /// Starts the tasks, with a clock of the node's beside Postgres' own.
    pub fn start_by(
        clock: NodeClock,
        store: &Store,
        settings: &Live<Settings>,
        shutdown: &Shutdown,
    ) -> Self {
        let retention = Self(Arc::default());
        for task in Task::ALL {
            let (retention, store) = (retention.clone(), store.clone());
            let settings = settings.clone();
            shutdown.spawn_background(async move {
                retention.repeat(task, clock, &store, &settings).await;
            });
        }
        retention
    }

    pub fn status(&self) -> Status {
        *self.0.lock()
    }

    async fn repeat(&self, task: Task, clock: NodeClock, store: &Store, settings: &Live<Settings>) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut is_failing = false;
        loop {
            let changed = settings.changed();
            let now = settings.snapshot();
            let mut turn = Turn::begin(&now, settings, clock);
            let ended = survive(turn.run(task, store)).await;
            let ended = ended.unwrap_or(Err(Failure::Panicked));
            let worked = turn.worked();
            metrics::histogram!("relay_retention_work_seconds", "task" => task.name())
                .record(worked);
            let outcome = match &ended {
                Ok(true) => Outcome::Ok,
                Ok(false) => Outcome::Elsewhere,
                Err(_) => Outcome::Failed,
            };
            metrics::counter!(
                "relay_retention_runs_total", "task" => task.name(), "outcome" => outcome.name()
            )
            .increment(1);
            if is_failing && ended.is_ok() {
                tracing::warn!(task = task.name(), "retention works again");
            }
            is_failing = ended.is_err();
            let forgotten = turn.forgotten;
            metrics::counter!("relay_retention_forgotten_total", "task" => task.name())
                .increment(forgotten);
            if forgotten > 0 {
                tracing::info!(task = task.name(), forgotten, "retention has forgotten");
            }
            let wait = match ended {
                // Should whoever is at it be gone, somebody must take over.
                Ok(false) => task.interval(&now).min(LAST_RETRY),
                Ok(true) => {
                    backoff.reset();
                    task.interval(&now)
                }
                Err(error) => {
                    tracing::warn!(task = task.name(), %error, "retention failed and will retry");
                    backoff.next(random())
                }
            };
            task.status(&mut self.0.lock()).note(outcome, worked);
            // What was told to be forgotten sooner is forgotten now.
            let _ = timeout(wait, changed).await;
        }
    }
}

/// One run of a task.
struct Turn<'a> {
    /// What is forgotten in this run.
    settings: &'a Settings,
    /// How long it pauses, which may change meanwhile.
    live: &'a Live<Settings>,
    clock: NodeClock,
    began: Instant,
    paused: Duration,
    has_stepped: bool,
    forgotten: u64,
    /// The first. It has kept nothing else from going: a day that somebody holds, for weeks
    /// perhaps, must not be what all others wait for.
    failure: Option<StoreError>,
}

impl<'a> Turn<'a> {
    fn begin(settings: &'a Settings, live: &'a Live<Settings>, clock: NodeClock) -> Self {
        Self {
            settings,
            live,
            clock,
            began: Instant::now(),
            paused: Duration::ZERO,
            has_stepped: false,
            forgotten: 0,
            failure: None,
        }
    }

    /// Runs a task, unless another node is at it: `false`.
    async fn run(&mut self, task: Task, store: &Store) -> Result<bool, Failure> {
        // Of a nonce nothing is lost: where the clocks are wrong no token is good.
        let looks_at_days = !matches!(task, Task::Nonces);
        // Every node makes sure of the coming days, and of yesterday: a lock there is Postgres's own.
        if looks_at_days {
            store.ensure_partitions().await?;
        }
        let Some(forgetting) = store.forgetting(task.name()).await? else {
            return Ok(false);
        };
        let clocks = self.clocks(&forgetting).await?;
        if looks_at_days {
            let partitions = forgetting.partitions("messages").await?;
            if days::is_after_leap(&partitions, clocks.earlier()) {
                return Err(Failure::Leap);
            }
        }
        match task {
            // Postgres looks at when their time is over, and nobody else.
            Task::KeyPackages | Task::Nonces if !clocks.agree() => return Err(Failure::Clocks),
            Task::Days => self.forget_old(&forgetting, clocks.lead()).await,
            Task::KeyPackages => {
                let most = self.settings.key_packages_per_device_max;
                let consumed = self.settings.consumed_key_package_ttl;
                self.note(forgetting.key_packages(consumed).await);
                self.note(forgetting.surplus_key_packages(most).await);
            }
            Task::Nonces => {
                self.note(forgetting.jtis().await);
                self.note(forgetting.idempotency_keys().await);
                self.note(forgetting.claims().await);
            }
        }
        match self.failure.take() {
            Some(error) => Err(error.into()),
            None => Ok(true),
        }
    }

    /// What a step has come to.
    fn note(&mut self, step: Result<u64, StoreError>) {
        match step {
            Ok(gone) => self.forgotten += gone,
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    /// What goes by its age. Postgres, whose clock may be ahead, is told that it lasts so much
    /// longer.
    async fn forget_old(&mut self, forgetting: &Forgetting, lead: Duration) {
        let settings = self.settings;
        let (events, messages) = (settings.event_ttl_days, settings.message_ttl_days);
        let messages_live = DAY * u32::from(messages) + lead;
        for (parent, ttl_days) in [("event_stream", events), ("messages", messages)] {
            let listed = self.forget_days(forgetting, parent, ttl_days).await;
            self.note(listed.map(|()| 0));
        }
        let confirmed = settings.welcome_ttl + lead;
        self.note(forgetting.confirmed_welcomes(confirmed).await);
        // Those whose next commits are gone: nobody could go on from them.
        self.note(forgetting.unconfirmed_welcomes(messages_live).await);
        // A conversation that stands still keeps none for ever.
        let oldest = messages_live + settings.welcome_ttl;
        self.note(forgetting.old_welcomes(oldest).await);
        self.note(forgetting.reports(settings.report_ttl + lead).await);
        // When the day of the last event, and of the last message, is gone.
        let ended = DAY * (u32::from(events.max(messages)) + 1) + lead;
        self.note(forgetting.conversations(ended).await);
    }

    async fn clocks(&self, forgetting: &Forgetting) -> Result<Clocks, StoreError> {
        let postgres = forgetting.now().await?;
        let node = (self.clock)();
        Ok(Clocks { postgres, node })
    }

    async fn forget_days(
        &mut self,
        forgetting: &Forgetting,
        parent: &'static str,
        ttl_days: u16,
    ) -> Result<(), StoreError> {
        let now = self.clocks(forgetting).await?.earlier();
        let partitions = forgetting.partitions(parent).await?;
        let expired = days::expired(&partitions, ttl_days, now);
        if parent == "event_stream" && !expired.is_empty() {
            forgetting
                .raise_stream_floor(days::kept_since(ttl_days, now))
                .await?;
        }
        for partition in &expired {
            let gone = self.forget_day(forgetting, parent, partition).await;
            self.note(gone.map(|()| 1));
        }
        Ok(())
    }

    async fn forget_day(
        &mut self,
        forgetting: &Forgetting,
        parent: &'static str,
        partition: &str,
    ) -> Result<(), StoreError> {
        self.pause().await;
        forgetting.detach(parent, partition).await?;
        self.pause().await;
        forgetting.drop_detached(partition).await
    }

    /// Lets the senders go on before the next step: each one makes Postgres plan their
    /// statements anew, or the disk give room back.
    async fn pause(&mut self) {
        if self.has_stepped {
            let began = Instant::now();
            let changed = self.live.changed();
            let pause = self.live.load().pause;
            let _ = timeout(pause, changed).await;
            self.paused += began.elapsed();
        }
        self.has_stepped = true;
    }

    fn worked(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.paused)
    }
}

/// Arithmetic.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Soon, and then less and less often: data may outlive its time by hours.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(10 * 60);

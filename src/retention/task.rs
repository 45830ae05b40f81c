//! The tasks: what is due, under the lock that one node holds, and how it went.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use super::{Settings, days};
use crate::runtime::{Backoff, Live, Shutdown};
use crate::store::{Forgetting, Store, StoreError};

/// The background tasks, and what health says of them.
#[derive(Clone, Debug)]
pub struct Retention(Arc<Mutex<Status>>);

/// How each task went last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Status {
    pub days: TaskStatus,
    pub key_packages: TaskStatus,
    pub nonces: TaskStatus,
}

/// How one task went last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TaskStatus {
    pub failures_in_a_row: u32,
    pub runs: u64,
}

impl Status {
    /// Whether every task works, or has failed too seldom to say.
    pub fn is_healthy(&self) -> bool {
        [self.days, self.key_packages, self.nonces]
            .iter()
            .all(|task| task.failures_in_a_row < FAILURES_UNHEALTHY)
    }
}

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

impl Retention {
    /// Starts the tasks.
    pub fn start(store: &Store, settings: &Live<Settings>, shutdown: &Shutdown) -> Self {
        let retention = Self(Arc::default());
        for task in Task::ALL {
            let (retention, store) = (retention.clone(), store.clone());
            let (settings, stop) = (settings.clone(), shutdown.clone());
            shutdown.spawn_background(async move {
                tokio::select! {
                    () = retention.repeat(task, &store, &settings) => {}
                    () = stop.stopping() => {}
                }
            });
        }
        retention
    }

    pub fn status(&self) -> Status {
        *self.0.lock()
    }

    async fn repeat(&self, task: Task, store: &Store, settings: &Live<Settings>) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        loop {
            let used = settings.snapshot();
            let ended = run(task, store, &used).await;
            let outcome = if ended.is_ok() { "ok" } else { "failed" };
            metrics::counter!("relay_retention_runs_total", "task" => task.name(), "outcome" => outcome)
                .increment(1);
            let wait = match ended {
                Ok(forgotten) => {
                    metrics::counter!("relay_retention_forgotten_total", "task" => task.name())
                        .increment(forgotten);
                    if forgotten > 0 {
                        tracing::info!(task = task.name(), forgotten, "retention has forgotten");
                    }
                    backoff.reset();
                    task.interval(&used)
                }
                Err(error) => {
                    tracing::warn!(task = task.name(), %error, "retention failed and will retry");
                    backoff.next(uuid::Uuid::new_v4().as_u64_pair().0)
                }
            };
            {
                let mut status = self.0.lock();
                let mine = task.status(&mut status);
                mine.runs += 1;
                mine.failures_in_a_row = if outcome == "ok" {
                    0
                } else {
                    mine.failures_in_a_row.saturating_add(1)
                };
            }
            rest(wait, &used, settings).await;
        }
    }
}

/// Waits for the next run, or until other settings hold: they count at once.
async fn rest(wait: Duration, used: &Settings, settings: &Live<Settings>) {
    let until = Instant::now() + wait;
    while Instant::now() < until && **settings.load() == *used {
        sleep_until(until.min(Instant::now() + LOOK_EVERY)).await;
    }
}

/// Runs a task, unless another node is at it: then there is nothing to do.
async fn run(task: Task, store: &Store, settings: &Settings) -> Result<u64, StoreError> {
    // Every node makes sure of the coming days: a lock there is Postgres's own.
    if matches!(task, Task::Days) {
        store.ensure_partitions().await?;
    }
    let Some(forgetting) = store.forgetting(task.name()).await? else {
        return Ok(0);
    };
    match task {
        Task::Days => {
            let events = forget_days(&forgetting, "event_stream", settings.event_ttl_days).await?;
            let messages = forget_days(&forgetting, "messages", settings.message_ttl_days).await?;
            Ok(events + messages + forgetting.welcomes(settings.welcome_ttl).await?)
        }
        Task::KeyPackages => {
            let most = settings.key_packages_per_device_max;
            forgetting
                .key_packages(settings.consumed_key_package_ttl, most)
                .await
        }
        Task::Nonces => Ok(forgetting.jtis().await? + forgetting.idempotency_keys().await?),
    }
}

async fn forget_days(
    forgetting: &Forgetting,
    parent: &'static str,
    ttl_days: u16,
) -> Result<u64, StoreError> {
    let now = Utc::now();
    let partitions = forgetting.partitions(parent).await?;
    let expired = days::expired(&partitions, ttl_days, now);
    if parent == "event_stream" && !expired.is_empty() {
        forgetting
            .raise_stream_floor(days::kept_since(ttl_days, now))
            .await?;
    }
    for partition in &expired {
        forgetting.drop_partition(parent, partition).await?;
    }
    Ok(expired.len().try_into().unwrap_or(u64::MAX))
}

/// How often somebody looks whether settings have changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(10 * 60);
/// Three failures take about half a minute.
const FAILURES_UNHEALTHY: u32 = 3;

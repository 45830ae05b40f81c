//! The small tasks that nobody else does: the database's pulse, and the metrics'
//! housekeeping.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::clock;
use crate::runtime::Shutdown;
use crate::store::{PoolUsage, Store, StoreError};
use crate::telemetry::Metrics;

/// What the database said when last asked, so that health probes need not ask.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<Mutex<Beat>>);

/// One answer of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Beat {
    /// Why the database cannot be used, if it cannot.
    pub(super) failure: Option<StoreError>,
    pub(super) pool: PoolUsage,
    /// Whether somebody waited for a connection in vain since the answer before.
    pub(super) is_pool_short: bool,
    /// The schema's version, and the newest that we know.
    pub(super) schema: (i32, i32),
    /// Whether it could not write for want of room, a minute ago at most.
    pub(super) is_disk_full: bool,
    /// For how long no send could be stored.
    pub(super) sends_fail: Option<Duration>,
    /// How far this node's clock is ahead of the database's.
    pub(super) clock_ahead: TimeDelta,
}

impl Pulse {
    pub(super) fn last(&self) -> Beat {
        self.0.lock().clone()
    }

    async fn take(&self, store: &Store) {
        let asked = Utc::now();
        let answer = timeout(PULSE_TIMEOUT, store.vitals()).await;
        let answered = Utc::now();
        let answer = answer.unwrap_or(Err(StoreError::Timeout));
        let usage = store.pool_usage();
        metrics::gauge!("relay_store_up").set(if answer.is_ok() { 1.0 } else { 0.0 });
        metrics::gauge!("relay_store_connections").set(f64::from(usage.open));
        metrics::gauge!("relay_store_connections_idle").set(f64::from(usage.idle));
        metrics::gauge!("relay_append_queue_items").set(store.appends_waiting() as f64);
        let sends_fail = store.appends_failing();
        let seconds = sends_fail.unwrap_or_default().as_secs_f64();
        metrics::gauge!("relay_append_failing_seconds").set(seconds);
        let mut beat = self.0.lock();
        beat.sends_fail = sends_fail;
        if answer.is_ok() == beat.failure.is_some() {
            let (is_well, error) = (answer.is_ok(), answer.as_ref().err());
            let error = error.map(tracing::field::display);
            tracing::warn!(is_well, error, "the database's health has changed");
        }
        let last_full = store.disk_last_full();
        beat.is_disk_full = last_full.is_some_and(|ago| ago < DISK_FULL_FOR);
        beat.is_pool_short = usage.given_up > beat.pool.given_up;
        beat.pool = usage;
        match answer {
            Ok(vitals) => {
                beat.failure = None;
                beat.schema = vitals.schema;
                let ahead = clock::ahead(asked, vitals.time, answered);
                metrics::gauge!("relay_process_clock_ahead_seconds").set(ahead.as_seconds_f64());
                let is_apart = clock::is_apart(ahead);
                if is_apart != clock::is_apart(beat.clock_ahead) {
                    let (is_well, ahead_seconds) = (!is_apart, ahead.num_seconds());
                    tracing::warn!(
                        is_well,
                        ahead_seconds,
                        "whether this node's clock agrees with Postgres' has changed"
                    );
                }
                beat.clock_ahead = ahead;
            }
            Err(error) => beat.failure = Some(error),
        }
    }
}

/// Begins to ask the database whether it is there.
pub(super) fn watch(store: Store, shutdown: &Shutdown) -> Pulse {
    let pulse = Pulse(Arc::default());
    let beating = pulse.clone();
    every(PULSE_EVERY, "pulse", shutdown, move || {
        let (store, pulse) = (store.clone(), beating.clone());
        async move { pulse.take(&store).await }
    });
    pulse
}

/// Begins to fold what the metrics gather.
pub(super) fn keep_metrics(metrics: Metrics, shutdown: &Shutdown) {
    every(METRICS_EVERY, "metrics", shutdown, move || {
        metrics.upkeep();
        std::future::ready(())
    });
}

/// Does something at once, and again and again until the process stops.
fn every<T, F>(pause: Duration, name: &'static str, shutdown: &Shutdown, turn: T)
where
    T: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    shutdown.spawn_lasting(name, turn, move |turn| {
        Box::pin(async move {
            loop {
                turn().await;
                sleep(pause).await;
            }
        })
    });
}

/// As often as balancers look, or more.
const PULSE_EVERY: Duration = Duration::from_secs(1);

/// A probe that must wait longer has its answer.
const PULSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Nobody may want to write for a while.
const DISK_FULL_FOR: Duration = Duration::from_secs(60);

/// As its library recommends.
const METRICS_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn health_knows_at_once_what_it_is_asked_for() {
        let (told, mut heard) = mpsc::channel(1);
        every(PULSE_EVERY, "of a test", &Shutdown::default(), move || {
            let told = told.clone();
            async move { told.send(Instant::now()).await.unwrap() }
        });
        let begun = Instant::now();
        assert_eq!(heard.recv().await, Some(begun));
        assert_eq!(heard.recv().await, Some(begun + PULSE_EVERY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_once_runs_again() {
        let shutdown = Shutdown::default();
        let (told, mut heard) = mpsc::channel(1);
        let mut turn = 0;
        every(PULSE_EVERY, "of a test", &shutdown, move || {
            turn += 1;
            let (told, turn) = (told.clone(), turn);
            async move {
                assert!(turn != 1, "a fault of the first turn");
                told.send(turn).await.unwrap();
            }
        });
        assert_eq!(heard.recv().await, Some(2));
        assert_eq!(heard.recv().await, Some(3));
    }
}

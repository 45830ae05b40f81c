//! The small tasks that nobody else does: the database's pulse, and the metrics'
//! housekeeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::runtime::Shutdown;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Whether the database answered when last asked, so that health probes need not ask.
#[derive(Clone, Debug)]
pub(super) struct Pulse(Arc<AtomicBool>);

impl Pulse {
    pub(super) fn is_well(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Begins to ask the database whether it is there. It was a moment ago.
pub(super) fn watch(store: Store, shutdown: &Shutdown) -> Pulse {
    let pulse = Pulse(Arc::new(AtomicBool::new(true)));
    let beating = pulse.clone();
    every(PULSE_EVERY, shutdown, move || {
        let (store, pulse) = (store.clone(), beating.clone());
        async move {
            let answer = timeout(PULSE_TIMEOUT, store.ping()).await;
            let is_well = matches!(answer, Ok(Ok(())));
            if pulse.0.swap(is_well, Ordering::Relaxed) != is_well {
                tracing::warn!(is_well, "the database's health has changed");
            }
            metrics::gauge!("relay_store_up").set(if is_well { 1.0 } else { 0.0 });
        }
    });
    pulse
}

/// Begins to fold what the metrics gather.
pub(super) fn keep_metrics(metrics: Metrics, shutdown: &Shutdown) {
    every(METRICS_EVERY, shutdown, move || {
        metrics.upkeep();
        std::future::ready(())
    });
}

/// Runs `task` again and again until the process stops.
fn every<T, F>(pause: Duration, shutdown: &Shutdown, mut task: T)
where
    T: FnMut() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let stop = shutdown.clone();
    shutdown.spawn_background(async move {
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                () = sleep(pause) => task().await,
            }
        }
    });
}

const PULSE_EVERY: Duration = Duration::from_secs(1);

/// A probe that must wait longer has its answer.
const PULSE_TIMEOUT: Duration = Duration::from_secs(3);

const METRICS_EVERY: Duration = Duration::from_secs(5);

//! A run that is to end before its time, with a report of what there was.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells a run to end.
#[derive(Debug, Default)]
pub struct Stop {
    is_heeded: AtomicBool,
    told: Notify,
}

impl Stop {
    /// Whether there is something to report, and the run now ends with that. Before the first
    /// message nothing was measured.
    pub fn tell(&self) -> bool {
        let is_heeded = self.is_heeded();
        if is_heeded {
            self.told.notify_one();
        }
        is_heeded
    }

    /// Whether the first message was due.
    pub fn is_heeded(&self) -> bool {
        self.is_heeded.load(Ordering::Relaxed)
    }

    /// From now on there is something to report.
    pub(super) fn heed(&self) {
        self.is_heeded.store(true, Ordering::Relaxed);
    }

    pub(super) async fn told(&self) {
        self.told.notified().await;
    }
}

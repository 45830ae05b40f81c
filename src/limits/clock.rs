//! The limiter's clock: the system's, or one that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Tick;

/// Ticks for the windows, and the time since 1970 for headers and penalties.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Instant },
    Manual { millis: Arc<AtomicU64> },
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System {
            started: Instant::now(),
        })
    }

    /// A clock that stands until it is moved.
    pub fn manual() -> Self {
        Self(Source::Manual {
            millis: Arc::new(AtomicU64::new(0)),
        })
    }

    /// Moves a manual clock; a system clock moves by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { millis } = &self.0 {
            millis.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn tick(&self) -> Tick {
        Tick::at(self.elapsed())
    }

    pub(super) fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started } => started.elapsed(),
            Source::Manual { millis } => Duration::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// The time since 1970.
    pub fn unix(&self) -> Duration {
        match &self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            Source::Manual { .. } => MANUAL_EPOCH + self.elapsed(),
        }
    }

    pub(super) fn unix_ms(&self) -> i64 {
        i64::try_from(self.unix().as_millis()).unwrap_or(i64::MAX)
    }
}

/// Where a manual clock starts; any day will do.
const MANUAL_EPOCH: Duration = Duration::from_secs(1_700_000_000);

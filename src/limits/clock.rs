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
    System {
        started: Instant,
        #[cfg(target_os = "linux")]
        started_coarse: Duration,
    },
    Manual {
        millis: Arc<AtomicU64>,
    },
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System {
            started: Instant::now(),
            #[cfg(target_os = "linux")]
            started_coarse: coarse(),
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

    /// The tick, from the coarse clock where there is one: reading it costs a tenth.
    pub(super) fn tick(&self) -> Tick {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Source::System { started_coarse, .. } => {
                Tick::at(coarse().saturating_sub(*started_coarse))
            }
            _ => Tick::at(self.elapsed()),
        }
    }

    /// How far a tick may lag behind: what to add to a wait that must not be too short.
    pub(super) fn grain(&self) -> Duration {
        match &self.0 {
            Source::System { .. } => COARSE_GRAIN,
            Source::Manual { .. } => Duration::ZERO,
        }
    }

    pub(super) fn elapsed(&self) -> Duration {
        match &self.0 {
            Source::System { started, .. } => started.elapsed(),
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

#[cfg(target_os = "linux")]
fn coarse() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The coarse clock moves at each timer interrupt, at least 100 times a second.
const COARSE_GRAIN: Duration = Duration::from_millis(10);

/// Where a manual clock starts; any day will do.
const MANUAL_EPOCH: Duration = Duration::from_secs(1_700_000_000);

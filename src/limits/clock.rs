//! The limiter's clock: the system's, or one that a test moves by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::ClockId;

use super::Tick;

/// Ticks for the windows, and the time since 1970 for headers and penalties.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { started: Duration },
    Manual { millis: Arc<AtomicU64> },
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System {
            started: read(COARSE),
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

    /// The tick, by the cheap clock, which may lag.
    pub(super) fn tick(&self) -> Tick {
        Tick::at(self.elapsed_by(COARSE))
    }

    /// The tick that does not lag, for the few checks where that matters.
    pub(super) fn exact_tick(&self) -> Tick {
        Tick::at(self.elapsed())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed_by(ClockId::Monotonic)
    }

    fn elapsed_by(&self, clock: ClockId) -> Duration {
        match &self.0 {
            Source::System { started } => read(clock).saturating_sub(*started),
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

fn read(clock: ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Linux has one that costs a tenth to read.
#[cfg(target_os = "linux")]
const COARSE: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const COARSE: ClockId = ClockId::Monotonic;

/// How far a tick may lag, in milliseconds: the coarse clock moves at each timer
/// interrupt, 100 times a second or more often; a busy host may be late with a few.
pub(super) const LAG_MS_MAX: u32 = 50;

/// Where a manual clock starts; any day will do.
const MANUAL_EPOCH: Duration = Duration::from_secs(1_700_000_000);

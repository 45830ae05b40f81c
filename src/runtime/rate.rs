//! Pure. A steady rate with room for a burst (GCRA): the state is the moment at which all
//! that was spent is paid for.

use std::time::{Duration, Instant};

/// How often something may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    interval: Duration,
    burst: u32,
}

impl Rate {
    /// Once in each such time.
    pub(crate) fn every(interval: Duration) -> Self {
        Self { interval, burst: 1 }
    }

    /// So often in a minute, all of it at once if need be.
    pub(crate) fn per_minute(times: u32) -> Self {
        let burst = times.max(1);
        Self {
            interval: Duration::from_secs(60) / burst,
            burst,
        }
    }

    /// The new state, or how long it is too early. Whoever wants more than the whole burst
    /// waits for all of it, and has to make do with that.
    pub(crate) fn spend(
        self,
        paid_until: Option<Instant>,
        times: u32,
        now: Instant,
    ) -> Result<Instant, Duration> {
        let start = paid_until.map_or(now, |paid| paid.max(now));
        let next = start + self.interval * times.min(self.burst);
        let latest = now + self.interval * self.burst;
        match next.saturating_duration_since(latest) {
            Duration::ZERO => Ok(next),
            early => Err(early),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_pace_holds() {
        let (rate, start) = (Rate::per_minute(20), Instant::now());
        let mut paid = None;
        for _ in 0..10 {
            paid = Some(rate.spend(paid, 2, start).unwrap());
        }
        let early = rate.spend(paid, 2, start).unwrap_err();
        assert_eq!(early, Duration::from_secs(6));
        assert!(rate.spend(paid, 2, start + early).is_ok());
        assert!(rate.spend(paid, 1, start + early / 2).is_ok());
    }

    #[test]
    fn who_wants_more_than_there_ever_is_waits_for_all_of_it() {
        let (rate, start) = (Rate::per_minute(20), Instant::now());
        let paid = rate.spend(None, 1_000, start).unwrap();
        let early = rate.spend(Some(paid), 1_000, start).unwrap_err();
        assert_eq!(early, Duration::from_secs(60));
        assert!(rate.spend(Some(paid), 1_000, start + early).is_ok());
    }
}

//! Whether bytes move on, and fast enough on the whole.

use std::time::Duration;

use tokio::time::Instant;

/// How far something is that moves piece by piece, from a client or to it.
#[derive(Debug)]
pub(crate) struct Pace {
    begun: Instant,
    moved: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            moved: now,
            bytes: 0,
        }
    }

    /// So many bytes have moved in all.
    pub(crate) fn reach(&mut self, bytes: u64, now: Instant) {
        if bytes > self.bytes {
            (self.bytes, self.moved) = (bytes, now);
        }
    }

    /// When patience is over: with nothing that moves, or with bytes that trickle.
    pub(crate) fn late_at(&self, patience: Duration) -> Instant {
        let steady = self.begun + Duration::from_millis(self.bytes * 1_000 / BYTES_PER_SECOND_MIN);
        self.moved.min(steady) + patience
    }
}

/// The least that a client may send or take on the whole: a slow mobile network carries
/// more.
pub(crate) const BYTES_PER_SECOND_MIN: u64 = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_moves_steadily_is_never_late_and_what_stops_or_trickles_is() {
        let begun = Instant::now();
        let mut steady = Pace::new(begun);
        for second in 1..1_000 {
            steady.reach(second * BYTES_PER_SECOND_MIN, begun + secs(second));
        }
        assert_eq!(steady.late_at(PATIENCE), begun + secs(999) + PATIENCE);
        // The same again: nothing has moved.
        steady.reach(999 * BYTES_PER_SECOND_MIN, begun + secs(1_010));
        assert_eq!(steady.late_at(PATIENCE), begun + secs(999) + PATIENCE);
        let mut trickle = Pace::new(begun);
        for second in 1..100 {
            trickle.reach(second, begun + secs(second));
        }
        assert!(trickle.late_at(PATIENCE) < begun + PATIENCE + secs(1));
        // What came fast at first may not stand still for it.
        let mut fast = Pace::new(begun);
        fast.reach(1 << 20, begun + secs(1));
        assert_eq!(fast.late_at(PATIENCE), begun + secs(1) + PATIENCE);
    }
}

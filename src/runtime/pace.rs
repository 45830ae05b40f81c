//! Whether bytes move on, and fast enough on the whole.

use std::time::Duration;

use tokio::time::Instant;

/// How far something is that moves piece by piece, from a client or to it.
#[derive(Debug)]
pub(crate) struct Pace {
    per_second: u64,
    bytes: u64,
    /// When it would be as far at the least pace. Never ahead: what came fast at first may
    /// not trickle for it.
    steady: Instant,
}

impl Pace {
    /// Begins now, with the least pace in bytes a second.
    pub(crate) fn new(per_second: u64, now: Instant) -> Self {
        Self {
            per_second,
            bytes: 0,
            steady: now,
        }
    }

    /// From now on this is the least pace, in bytes a second.
    pub(crate) fn require(&mut self, per_second: u64) {
        self.per_second = per_second;
    }

    /// So many bytes have moved in all.
    pub(crate) fn reach(&mut self, bytes: u64, now: Instant) {
        let more = bytes.saturating_sub(self.bytes);
        let micros = more.saturating_mul(1_000_000) / self.per_second;
        self.steady = (self.steady + Duration::from_micros(micros)).min(now);
        self.bytes += more;
    }

    /// When patience is over: with nothing that moves, or with bytes that trickle.
    pub(crate) fn late_at(&self, patience: Duration) -> Instant {
        self.steady + patience
    }
}

/// The least that must move, to a client or from it: the slowest mobile networks carry more.
pub(crate) const BYTES_PER_SECOND_MIN: u64 = 1 << 10;

/// To read a piece of a body costs as much as so many bytes do, at least: who sends byte by byte
/// would have seconds of a core for next to nothing.
pub(crate) const PIECE_LEN_MIN: usize = 256;

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
        let mut steady = Pace::new(BYTES_PER_SECOND_MIN, begun);
        for second in 1..1_000 {
            steady.reach(second * BYTES_PER_SECOND_MIN, begun + secs(second));
        }
        assert_eq!(steady.late_at(PATIENCE), begun + secs(999) + PATIENCE);
        // The same again: nothing has moved.
        steady.reach(999 * BYTES_PER_SECOND_MIN, begun + secs(1_010));
        assert_eq!(steady.late_at(PATIENCE), begun + secs(999) + PATIENCE);
        let mut trickle = Pace::new(BYTES_PER_SECOND_MIN, begun);
        for second in 1..100 {
            trickle.reach(second, begun + secs(second));
        }
        assert!(trickle.late_at(PATIENCE) < begun + PATIENCE + secs(1));
        // What came fast at first may not stand still for it.
        let mut fast = Pace::new(BYTES_PER_SECOND_MIN, begun);
        fast.reach(1 << 20, begun + secs(1));
        assert_eq!(fast.late_at(PATIENCE), begun + secs(1) + PATIENCE);
        // Nor trickle for it.
        for second in 2..20 {
            fast.reach((1 << 20) + second, begun + secs(second));
        }
        assert!(fast.late_at(PATIENCE) < begun + secs(2) + PATIENCE);
    }
}

//! How a drain sends its sessions away: each in a slot of its own, with a ticket that
//! lets it in elsewhere.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Settings;
use crate::auth::Caller;
use crate::types::{ConvoId, unprintable};

/// Makes the ticket of one session, good from its farewell to some time after the
/// moment at which it should be back.
pub(super) type Issue =
    Box<dyn Fn(&Caller, Option<&ConvoId>, Duration) -> Option<String> + Send + Sync>;

/// The slots of one drain, and who writes its tickets.
pub(super) struct Farewells {
    /// Sessions that were open when the first one took its slot.
    expected: OnceLock<u64>,
    taken: AtomicU64,
    pub(super) issue: Issue,
}

unprintable!(Farewells);

/// When one session goes, counted from now, and how long after that it returns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Farewell {
    pub(super) leave_after: Duration,
    pub(super) reconnect_after: Duration,
}

impl Farewells {
    pub(super) fn new(issue: Issue) -> Self {
        Self {
            expected: OnceLock::new(),
            taken: AtomicU64::new(0),
            issue,
        }
    }

    /// The next slot, with so many sessions open. `random` is drawn for this session.
    pub(super) fn next(&self, open: u64, settings: &Settings, random: (u64, u64)) -> Farewell {
        let expected = *self.expected.get_or_init(|| open.max(1));
        let nth = self.taken.fetch_add(1, Ordering::Relaxed) % expected;
        farewell(nth, expected, settings, random)
    }
}

/// Pure. The slot of the `nth` of so many sessions: the window is cut into as many
/// parts as there are sessions, and each should be back at a random moment of its part.
/// Moments that are drawn over the whole window would heap up by chance. It leaves a
/// little earlier, and is told how much.
fn farewell(nth: u64, of: u64, settings: &Settings, random: (u64, u64)) -> Farewell {
    let share = (nth as f64 + unit(random.0)) / of as f64;
    let back = settings.drain_window.mul_f64(share);
    let reconnect_after = settings.reconnect_spread.min(back).mul_f64(unit(random.1));
    Farewell {
        leave_after: back - reconnect_after,
        reconnect_after,
    }
}

/// A number in `[0, 1)`.
pub(super) fn unit(random: u64) -> f64 {
    // The 53 bits that a double holds.
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No two alike, and no pattern: the finaliser of splitmix64.
    fn scattered(seed: u64) -> u64 {
        let mut bits = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    #[test]
    fn sessions_return_evenly_over_the_window_each_from_a_moment_of_its_own() {
        let settings = Settings::default();
        let farewells = Farewells::new(Box::new(|_, _, _| None));
        let (count, buckets) = (2000, 30);
        let mut returns = vec![0_u32; buckets];
        for nth in 0..count {
            let random = (scattered(2 * nth), scattered(2 * nth + 1));
            // Those that have left are open no more.
            let slot = farewells.next(count - nth, &settings, random);
            assert!(slot.reconnect_after <= settings.reconnect_spread);
            let back = slot.leave_after + slot.reconnect_after;
            assert!(back < settings.drain_window);
            let bucket = back.as_secs_f64() / settings.drain_window.as_secs_f64();
            returns[(bucket * buckets as f64) as usize] += 1;
        }
        let mean = count as f64 / buckets as f64;
        let peak = f64::from(*returns.iter().max().unwrap());
        assert!(peak <= 1.05 * mean, "{returns:?}");
        // One that had come in just before was not counted.
        let slot = farewells.next(1, &settings, (0, 0));
        assert!(slot.leave_after < settings.drain_window);
    }

    #[test]
    fn a_window_of_nothing_sends_everyone_away_at_once() {
        let settings = Settings {
            drain_window: Duration::ZERO,
            ..Settings::default()
        };
        for random in [0, u64::MAX] {
            let slot = farewell(3, 5, &settings, (random, random));
            assert_eq!(slot.leave_after + slot.reconnect_after, Duration::ZERO);
        }
    }
}

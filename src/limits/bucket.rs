//! Pure. A budget of bytes that fills up evenly: GCRA in one number.
//!
//! Bytes come in lumps of any size, so a log of them would be large; here a minute's
//! worth may be spent at once, and on average no more than a minute's worth a
//! minute (so at most twice that in any one minute).

use super::Tick;
use super::window::Admissions;

/// When the budget would be full again, on a clock of microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: u64,
}

/// The minute in which a whole budget comes back.
const FILL_US: u64 = 60_000_000;

impl Bucket {
    /// Spends `bytes` of a budget of `per_minute`, or says how many microseconds
    /// until there is enough. More than a whole budget is never enough: it is
    /// admitted only when the budget is full, so that it passes at last.
    pub(super) fn spend(&mut self, now_us: u64, bytes: u64, per_minute: u64) -> Result<(), u64> {
        let cost = bytes.saturating_mul(FILL_US) / per_minute.max(1);
        let full_at = self.full_at.max(now_us);
        let owed = full_at - now_us;
        let room = FILL_US.saturating_sub(cost);
        if owed > room {
            return Err(owed - room);
        }
        self.full_at = full_at.saturating_add(cost);
        Ok(())
    }

    /// What could be spent now, and in how many microseconds all of it will be back.
    pub(super) fn left(&self, now_us: u64, per_minute: u64) -> (u64, u64) {
        let owed = self.full_at.saturating_sub(now_us).min(FILL_US);
        ((FILL_US - owed).saturating_mul(per_minute) / FILL_US, owed)
    }

    /// The budget that an entry of a table keeps, on a clock that starts at `now`: what was
    /// owed at the newest spending, in two numbers where a window has its admissions.
    pub(super) fn kept_in(entry: &impl Admissions, now: Tick) -> Self {
        let half = |index| u64::from(entry.get(index).unwrap_or(0));
        let owed = half(0) | half(1) << 16;
        let since = u64::from(now.since(entry.newest())) * 1_000;
        Self {
            full_at: owed.saturating_sub(since),
        }
    }

    /// Keeps the budget so. No entry owes more than a minute, after which it may leave.
    pub(super) fn keep_in(self, entry: &mut impl Admissions, now: Tick) {
        let owed = self.full_at.min(FILL_US);
        entry.drop_oldest(entry.len());
        entry.set_newest(entry.newest().latest(now));
        entry.push(owed as u16);
        entry.push((owed >> 16) as u16);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::window::Log;

    proptest! {
        #[test]
        fn no_stretch_of_time_passes_more_than_it_earns_and_one_budget(
            spends in proptest::collection::vec((0u64..20_000_000, 1u64..500), 1..200),
        ) {
            let per_minute = 1_000;
            let mut bucket = Bucket::default();
            let mut now = 0;
            let mut passed = 0u64;
            for (gap, bytes) in spends {
                now += gap;
                match bucket.spend(now, bytes, per_minute) {
                    Ok(()) => passed += bytes,
                    Err(wait) => {
                        prop_assert!(bucket.spend(now + wait - 1, bytes, per_minute).is_err());
                        let mut later = bucket;
                        prop_assert!(later.spend(now + wait, bytes, per_minute).is_ok());
                    }
                }
                prop_assert!(passed <= per_minute + now * per_minute / FILL_US + 1);
            }
        }
    }

    proptest! {
        #[test]
        fn what_an_entry_keeps_is_the_budget_itself(
            spends in proptest::collection::vec((0u64..20_000, 1u64..1_500), 1..200),
        ) {
            let per_minute = 1_000;
            // Across the wrap of the ticks.
            let mut elapsed = Duration::from_millis(u64::from(u32::MAX) - 100_000);
            let (mut bucket, mut entry) = (Bucket::default(), Log::new(Tick::at(elapsed)));
            for (gap, bytes) in spends {
                elapsed += Duration::from_millis(gap);
                let (now, now_us) = (Tick::at(elapsed), elapsed.as_micros() as u64);
                let bytes = bytes.min(per_minute);
                let mut kept = Bucket::kept_in(&entry, now);
                prop_assert_eq!(
                    kept.spend(0, bytes, per_minute),
                    bucket.spend(now_us, bytes, per_minute)
                );
                kept.keep_in(&mut entry, now);
                let kept = Bucket::kept_in(&entry, now);
                prop_assert_eq!(kept.left(0, per_minute), bucket.left(now_us, per_minute));
            }
        }
    }

    #[test]
    fn more_than_a_whole_budget_passes_when_that_is_full_and_an_entry_owes_a_minute_for_it() {
        let (now, mut bucket) = (Tick::default(), Bucket::default());
        assert_eq!(bucket.spend(0, 500, 100), Ok(()));
        assert_eq!(bucket.left(0, 100), (0, FILL_US));
        let mut entry = Log::new(now);
        bucket.keep_in(&mut entry, now);
        assert_eq!(Bucket::kept_in(&entry, now).spend(0, 1, 100), Err(600_000));
    }

    #[test]
    fn a_quiet_minute_fills_the_budget() {
        let mut bucket = Bucket::default();
        assert_eq!(bucket.spend(0, 100, 100), Ok(()));
        assert_eq!(bucket.left(FILL_US / 2, 100), (50, FILL_US / 2));
        assert_eq!(bucket.spend(FILL_US / 2, 51, 100), Err(600_000));
        assert_eq!(bucket.spend(FILL_US, 100, 100), Ok(()));
    }
}

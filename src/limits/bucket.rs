//! Pure. A budget of bytes that fills up evenly: GCRA in one number.
//!
//! Bytes come in lumps of any size, so a log of them would be large; here all that a rate
//! gives in its time may be spent at once, and on average no more than that in so long
//! (so at most twice that in any one such time).

use super::Tick;
use super::window::Admissions;

/// So many bytes in a minute, or in a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    bytes: u64,
    /// In which a whole budget comes back.
    fill_us: u64,
    /// Whether more is refused, and not only counted.
    is_enforced: bool,
}

const MINUTE_US: u64 = 60_000_000;
const DAY_US: u64 = 24 * 60 * MINUTE_US;

impl Rate {
    pub(super) fn a_minute(bytes: u64) -> Self {
        Self {
            bytes,
            fill_us: MINUTE_US,
            is_enforced: true,
        }
    }

    pub(super) fn a_day(bytes: u64) -> Self {
        Self {
            fill_us: DAY_US,
            ..Self::a_minute(bytes)
        }
    }

    #[must_use]
    pub(super) fn enforced_if(self, is_enforced: bool) -> Self {
        Self {
            is_enforced,
            ..self
        }
    }

    /// The rate of several subjects that share one budget.
    #[must_use]
    pub(super) fn times(self, subjects: u16) -> Self {
        self.percent(100 * u64::from(subjects))
    }

    #[must_use]
    pub(super) fn percent(self, percent: u64) -> Self {
        let bytes = self.bytes.saturating_mul(percent) / 100;
        Self { bytes, ..self }
    }

    /// In which so many bytes come back.
    fn cost_us(self, bytes: u64) -> u64 {
        let cost = u128::from(bytes) * u128::from(self.fill_us) / u128::from(self.bytes.max(1));
        u64::try_from(cost).unwrap_or(u64::MAX)
    }
}

/// When the budget would be full again, on a clock of microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// Spends `bytes` of a budget of this rate, or says how many microseconds
    /// until there is enough. More than a whole budget is never enough: it is
    /// admitted only when the budget is full, so that it passes at last.
    pub(super) fn spend(&mut self, now_us: u64, bytes: u64, rate: Rate) -> Result<(), u64> {
        let owed = self.full_at.saturating_sub(now_us);
        let room = rate.fill_us.saturating_sub(rate.cost_us(bytes));
        if owed > room {
            return Err(owed - room);
        }
        self.charge(now_us, bytes, rate);
        Ok(())
    }

    /// Takes `bytes`, whether or not there is enough.
    fn charge(&mut self, now_us: u64, bytes: u64, rate: Rate) {
        self.full_at = self.full_at.max(now_us).saturating_add(rate.cost_us(bytes));
    }

    /// What could be spent now, and in how many microseconds all of it will be back.
    pub(super) fn left(&self, now_us: u64, rate: Rate) -> (u64, u64) {
        let owed = self.full_at.saturating_sub(now_us).min(rate.fill_us);
        let left = u128::from(rate.fill_us - owed) * u128::from(rate.bytes);
        let left = u64::try_from(left / u128::from(rate.fill_us));
        (left.unwrap_or(rate.bytes), owed)
    }
}

/// Budgets of one subject at rates of their own, on a clock that starts now. One entry of a
/// table keeps them, in the numbers where a window has its admissions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budgets([Bucket; 2]);

pub(super) type Rates = [Rate; 2];

/// For how many microseconds each budget has not enough; 0 where it has.
pub(super) type Waits = [u64; 2];

impl Budgets {
    /// Spends so many bytes of each that has enough, or of none if one that is enforced has
    /// not.
    pub(super) fn spend(&mut self, bytes: u64, rates: Rates) -> Waits {
        let [mut first, mut second] = self.0;
        let waits = [
            first.spend(0, bytes, rates[0]).err().unwrap_or(0),
            second.spend(0, bytes, rates[1]).err().unwrap_or(0),
        ];
        if enforced(waits, rates) == [0; 2] {
            self.0 = [first, second];
        }
        waits
    }

    /// Takes so many bytes of each, whether or not it has enough. One that only counts is not
    /// overdrawn: it may be enforced one day.
    pub(super) fn charge(&mut self, bytes: u64, rates: Rates) {
        for (budget, rate) in self.0.iter_mut().zip(rates) {
            match rate.is_enforced {
                true => budget.charge(0, bytes, rate),
                false => {
                    let _ = budget.spend(0, bytes, rate);
                }
            }
        }
    }

    /// The budgets that an entry keeps: how long before its newest moment each is full.
    pub(super) fn kept_in(entry: &impl Admissions, now: Tick) -> Self {
        let until_us = u64::from(entry.newest().since(now)) * 1_000;
        let early_us = |from: usize| {
            let words = (from..from + WORDS)
                .rev()
                .filter_map(|index| entry.get(index));
            words.fold(0, |high, word| high << 16 | u64::from(word))
        };
        Self([0, WORDS].map(|from| Bucket {
            full_at: until_us.saturating_sub(early_us(from)),
        }))
    }

    /// Keeps the budgets so. Until all is full, the entry is in use: it must not leave.
    pub(super) fn keep_in(self, entry: &mut impl Admissions, now: Tick) {
        let owed = self.0.map(|bucket| bucket.full_at.min(OWED_US_MAX));
        let until_ms = owed[0].max(owed[1]).div_ceil(1_000);
        entry.drop_oldest(entry.len());
        entry.set_newest(now.after(until_ms as u32));
        for owed in owed {
            let early_us = until_ms * 1_000 - owed;
            for word in 0..WORDS {
                entry.push((early_us >> (16 * word)) as u16);
            }
        }
    }
}

/// The waits of those that are enforced.
pub(super) fn enforced(waits: Waits, rates: Rates) -> Waits {
    let [first, second] = rates.map(|rate| u64::from(rate.is_enforced));
    [waits[0] * first, waits[1] * second]
}

/// A day's budget, and what has been taken beyond it.
const OWED_US_MAX: u64 = 2 * DAY_US;

/// Two days in microseconds take 38 bits.
const WORDS: usize = 3;

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
            let per_minute = Rate::a_minute(1_000);
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
                prop_assert!(passed <= 1_000 + now * 1_000 / MINUTE_US + 1);
            }
        }
    }

    proptest! {
        #[test]
        fn what_an_entry_keeps_are_the_budgets_themselves(
            spends in proptest::collection::vec((0u64..200_000, 1u64..1_000), 1..200),
        ) {
            let rates = [Rate::a_minute(1_000), Rate::a_day(20_000)];
            // Across the wrap of the ticks.
            let mut elapsed = Duration::from_millis(u64::from(u32::MAX) - 100_000);
            let (mut buckets, mut entry) = ([Bucket::default(); 2], Log::new(Tick::at(elapsed)));
            for (gap, bytes) in spends {
                elapsed += Duration::from_millis(gap);
                let (now, now_us) = (Tick::at(elapsed), elapsed.as_micros() as u64);
                let mut tried = buckets;
                let waits = [0, 1].map(|nth: usize| {
                    tried[nth].spend(now_us, bytes, rates[nth]).err().unwrap_or(0)
                });
                if waits == [0, 0] {
                    buckets = tried;
                }
                let mut kept = Budgets::kept_in(&entry, now);
                prop_assert_eq!(kept.spend(bytes, rates), waits);
                if bytes % 7 == 0 {
                    kept.charge(bytes, rates);
                    for nth in [0, 1] {
                        buckets[nth].charge(now_us, bytes, rates[nth]);
                    }
                }
                kept.keep_in(&mut entry, now);
                prop_assert_eq!(entry.len(), 2 * WORDS);
                let kept = Budgets::kept_in(&entry, now);
                for nth in [0, 1] {
                    let owed = kept.0[nth].left(0, rates[nth]);
                    prop_assert_eq!(owed, buckets[nth].left(now_us, rates[nth]));
                }
            }
        }
    }

    #[test]
    fn more_than_a_whole_budget_passes_when_that_is_full() {
        let (mut bucket, rate) = (Bucket::default(), Rate::a_minute(100));
        assert_eq!(bucket.spend(0, 500, rate), Ok(()));
        assert_eq!(bucket.left(0, rate), (0, MINUTE_US));
        assert!(bucket.spend(1, 500, rate).is_err());
    }

    #[test]
    fn what_is_left_of_a_large_day_is_told_as_well() {
        let (mut bucket, rate) = (Bucket::default(), Rate::a_day(1 << 50));
        assert_eq!(bucket.left(0, rate), (1 << 50, 0));
        assert_eq!(bucket.spend(0, 1 << 49, rate), Ok(()));
        assert_eq!(bucket.left(0, rate), (1 << 49, DAY_US / 2));
    }

    #[test]
    fn a_quiet_minute_fills_the_budget() {
        let (mut bucket, rate) = (Bucket::default(), Rate::a_minute(100));
        assert_eq!(bucket.spend(0, 100, rate), Ok(()));
        assert_eq!(bucket.left(MINUTE_US / 2, rate), (50, MINUTE_US / 2));
        assert_eq!(bucket.spend(MINUTE_US / 2, 51, rate), Err(600_000));
        assert_eq!(bucket.spend(MINUTE_US, 100, rate), Ok(()));
    }

    #[test]
    fn what_only_counts_holds_up_no_other_and_a_refusal_spends_nothing() {
        let rates = [Rate::a_minute(100), Rate::a_day(150)];
        let mut both = Budgets::default();
        assert_eq!(both.spend(100, rates), [0, 0]);
        assert_eq!(both.spend(51, rates).map(|wait| wait > 0), [true, true]);
        let counted = [rates[0].enforced_if(false), rates[1]];
        assert_eq!(both.spend(50, counted), [MINUTE_US / 2, 0]);
        assert!(both.spend(1, counted)[1] > 0, "the day has been spent");
    }
}

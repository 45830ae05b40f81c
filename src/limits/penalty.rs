//! Pure. Whoever keeps hitting limits waits, each time twice as long, up to a bound;
//! good conduct is forgotten step by step. Times are milliseconds since 1970, so
//! that nodes can tell each other.

use std::time::Duration;

use super::settings::Penalties;
use crate::store::CLOCKS_APART_MAX;

/// What is remembered of one offender.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Conduct {
    /// Refusals since `counted_from`.
    strikes: u16,
    counted_from: i64,
    /// How many stays count towards the length of the next.
    level: u8,
    until: i64,
}

/// A stay in the box.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stay {
    pub(super) level: u8,
    pub(super) until: i64,
}

impl Conduct {
    /// How much longer the offender stays, if it does. A stay that would end later than the
    /// longest one was decided by a clock that was wrong, and is none.
    pub(super) fn stays_for(&self, now: i64, settings: &Penalties) -> Option<Duration> {
        let left = u64::try_from(self.until - now)
            .ok()
            .filter(|left| *left > 0)?;
        let left = Duration::from_millis(left);
        (left <= settings.most + CLOCKS_APART_MAX).then(|| left.min(settings.most))
    }

    /// Counts a refusal; the stay that it leads to, if it is one too many. Whoever
    /// is in the box already is not kept there longer for knocking.
    pub(super) fn strike(&mut self, now: i64, settings: &Penalties) -> Option<Stay> {
        if self.stays_for(now, settings).is_some() {
            return None;
        }
        let counting = now - self.counted_from;
        if !(0..millis(settings.strikes_within)).contains(&counting) {
            (self.counted_from, self.strikes) = (now, 0);
        }
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes < settings.strikes {
            return None;
        }
        let level = self
            .level_at(now, settings)
            .saturating_add(1)
            .min(LEVEL_MAX);
        let stay = settings
            .first
            .saturating_mul(1 << (level - 1))
            .min(settings.most);
        let until = now.saturating_add(millis(stay));
        self.adopt(Stay { level, until });
        Some(self.stay())
    }

    /// The last stay, over or not.
    pub(super) fn stay(&self) -> Stay {
        Stay {
            level: self.level,
            until: self.until,
        }
    }

    /// Takes over a stay that another node or an operator decided. One that is known leaves
    /// the strikes since then.
    pub(super) fn adopt(&mut self, stay: Stay) {
        if self.stay() == stay {
            return;
        }
        *self = Self {
            level: stay.level,
            until: stay.until,
            ..Self::default()
        };
    }

    /// Whether nothing is left to remember.
    pub(super) fn is_forgotten(&self, now: i64, settings: &Penalties) -> bool {
        let counting = (0..millis(settings.strikes_within)).contains(&(now - self.counted_from));
        self.stays_for(now, settings).is_none() && !counting && self.level_at(now, settings) == 0
    }

    /// One step less for each stretch of good conduct since the last stay.
    fn level_at(&self, now: i64, settings: &Penalties) -> u8 {
        let stretches = (now - self.until).max(0) / millis(settings.forgiven_after).max(1);
        self.level
            .saturating_sub(u8::try_from(stretches).unwrap_or(u8::MAX))
    }
}

/// 2^19 first stays are longer than any bound in use; also keeps the shift defined.
const LEVEL_MAX: u8 = 20;

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Penalties {
        Penalties {
            strikes: 3,
            strikes_within: Duration::from_secs(60),
            first: Duration::from_secs(10),
            most: Duration::from_secs(60),
            forgiven_after: Duration::from_secs(300),
            ..crate::limits::Settings::default().penalties
        }
    }

    /// Three strikes at `now`: the length of the stay in seconds.
    fn offend(conduct: &mut Conduct, now: i64) -> i64 {
        assert_eq!(conduct.strike(now, &settings()), None);
        assert_eq!(conduct.strike(now, &settings()), None);
        (conduct.strike(now, &settings()).unwrap().until - now) / 1_000
    }

    #[test]
    fn stays_double_up_to_the_most_and_good_conduct_shortens_them() {
        let mut conduct = Conduct::default();
        assert_eq!(offend(&mut conduct, 1_000_000), 10);
        assert_eq!(offend(&mut conduct, 1_010_000), 20);
        assert_eq!(offend(&mut conduct, 1_030_000), 40);
        assert_eq!(offend(&mut conduct, 1_070_000), 60);
        assert_eq!(offend(&mut conduct, 1_130_000 + 2 * 300_000), 40);
        let much_later = 1_130_000 + 3_000_000;
        assert!(conduct.is_forgotten(much_later, &settings()));
        assert_eq!(offend(&mut conduct, much_later), 10);
    }

    #[test]
    fn who_never_learns_stays_the_most_each_time() {
        let mut conduct = Conduct::default();
        let mut now = 1_000_000;
        for stay in 0..100 {
            let seconds = offend(&mut conduct, now);
            assert!(seconds == 60 || stay < 3, "{seconds}");
            now += seconds * 1_000;
        }
    }

    #[test]
    fn nobody_is_forgotten_who_is_in_it_or_counted_or_not_yet_forgiven() {
        let mut conduct = Conduct::default();
        conduct.strike(1_000_000, &settings());
        assert!(!conduct.is_forgotten(1_059_999, &settings()), "counted");
        assert!(conduct.is_forgotten(1_060_000, &settings()));
        offend(&mut conduct, 2_000_000);
        assert!(!conduct.is_forgotten(2_009_999, &settings()), "in it");
        assert!(!conduct.is_forgotten(2_309_999, &settings()), "unforgiven");
        assert!(conduct.is_forgotten(2_310_000, &settings()));
    }

    #[test]
    fn refusals_far_apart_lead_nowhere() {
        let mut conduct = Conduct::default();
        for minute in 0..100 {
            assert_eq!(conduct.strike(minute * 60_000, &settings()), None);
        }
        // Nor where the clock was ahead when it began to count.
        for minute in 0..100 {
            assert_eq!(conduct.strike(minute * 60_000, &settings()), None);
        }
    }

    #[test]
    fn knocking_does_not_prolong_a_stay() {
        let mut conduct = Conduct::default();
        offend(&mut conduct, 0);
        for _ in 0..10 {
            assert_eq!(conduct.strike(5_000, &settings()), None);
        }
        assert_eq!(
            conduct.stays_for(5_000, &settings()),
            Some(Duration::from_secs(5))
        );
        assert_eq!(conduct.stays_for(10_000, &settings()), None);
    }

    #[test]
    fn a_clock_that_went_back_keeps_nobody_longer_than_the_most() {
        let mut conduct = Conduct::default();
        offend(&mut conduct, 10_000_000);
        let left = |now| conduct.stays_for(now, &settings());
        assert_eq!(left(9_910_000), Some(Duration::from_secs(60)));
        // By more than clocks differ: such a stay would not end for as long.
        assert_eq!(left(9_000_000), None);
    }

    #[test]
    fn a_stay_that_is_told_again_forgives_no_strikes() {
        let mut conduct = Conduct::default();
        offend(&mut conduct, 0);
        let stay = conduct.stay();
        for _ in 0..2 {
            assert_eq!(conduct.strike(10_000, &settings()), None);
            conduct.adopt(stay);
        }
        assert_eq!(conduct.strike(10_000, &settings()).unwrap().level, 2);
    }
}

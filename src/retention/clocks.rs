//! Pure. What time it is, by two clocks: what is dropped for being old is gone for good, so
//! one clock that runs ahead, or steps there, must not decide it alone.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::store::CLOCKS_APART_MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    pub(super) postgres: DateTime<Utc>,
    pub(super) node: DateTime<Utc>,
}

impl Clocks {
    /// The time by which something is old: both clocks say that it is at least this late.
    pub(super) fn earlier(self) -> DateTime<Utc> {
        self.postgres.min(self.node)
    }

    /// By how much Postgres is ahead of us. What it forgets by its own clock it forgets so
    /// much too early.
    pub(super) fn lead(self) -> Duration {
        (self.postgres - self.node).to_std().unwrap_or_default()
    }

    /// Whether Postgres' clock may decide alone: nobody's times are so exact.
    pub(super) fn agree(self) -> bool {
        self.lead() <= CLOCKS_APART_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_clock_decides_and_only_one_that_is_ahead_of_us_is_doubted() {
        let noon: DateTime<Utc> = "2026-11-24T12:00:00Z".parse().unwrap();
        let later = noon + Duration::from_secs(40 * 24 * 60 * 60);
        let ahead = Clocks {
            postgres: later,
            node: noon,
        };
        assert_eq!(ahead.earlier(), noon);
        assert_eq!(noon + ahead.lead(), later);
        assert!(!ahead.agree());
        let behind = Clocks {
            postgres: noon,
            node: later,
        };
        assert_eq!(behind.earlier(), noon);
        assert_eq!(behind.lead(), Duration::ZERO);
        assert!(behind.agree());
    }
}

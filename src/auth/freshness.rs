//! Pure. What the age of a remembered lookup means.

use std::time::Duration;

use super::{ResolveError, Settings};

/// What a lookup ended in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    Found,
    /// A definite "no such account" or "no usable key".
    Absent,
    /// The network failed; it says nothing of the account.
    Failed,
}

impl Ending {
    pub(crate) fn of<K>(outcome: &Result<K, ResolveError>) -> Self {
        match outcome {
            Ok(_) => Self::Found,
            Err(error) if error.is_definite() => Self::Absent,
            Err(_) => Self::Failed,
        }
    }

    /// A closed label for metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Failed => "failed",
        }
    }
}

/// What may be done with a remembered lookup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// Use it.
    Fresh,
    /// Use it, and look it up anew beside that.
    Stale,
    /// Look it up and wait.
    Expired,
}

/// How long each kind of lookup is good for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    pub(crate) fresh_for: Duration,
    pub(crate) stale_for: Duration,
    pub(crate) absent_for: Duration,
    /// After a failure: how long before the next attempt.
    pub(crate) pause: Duration,
}

impl Lifetimes {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            fresh_for: settings.key_fresh_for,
            stale_for: settings.key_stale_for,
            absent_for: settings.key_absent_for,
            pause: settings.lookup_pause,
        }
    }

    /// The standing of a lookup that ended `age` ago, when the last attempt to
    /// repeat it ended `tried` ago.
    pub(crate) fn standing(&self, lookup: Ending, age: Duration, tried: Duration) -> Standing {
        match lookup {
            Ending::Found if age < self.fresh_for => Standing::Fresh,
            // A refresh has just failed: rest before the next.
            Ending::Found if age < self.stale_for && tried < self.pause => Standing::Fresh,
            Ending::Found if age < self.stale_for => Standing::Stale,
            Ending::Absent if age < self.absent_for => Standing::Fresh,
            Ending::Failed if age < self.pause => Standing::Fresh,
            Ending::Found | Ending::Absent | Ending::Failed => Standing::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        fresh_for: Duration::from_secs(3600),
        stale_for: Duration::from_secs(86_400),
        absent_for: Duration::from_secs(60),
        pause: Duration::from_secs(2),
    };

    #[test]
    fn a_lookup_ages_by_its_kind() {
        use {Ending as L, Standing as S};
        for (lookup, age, tried, standing) in [
            (L::Found, 0, 0, S::Fresh),
            (L::Found, 3599, 3599, S::Fresh),
            (L::Found, 3600, 3600, S::Stale),
            (L::Found, 5000, 1, S::Fresh),
            (L::Found, 5000, 2, S::Stale),
            (L::Found, 86_399, 3600, S::Stale),
            (L::Found, 86_400, 1, S::Expired),
            (L::Absent, 59, 59, S::Fresh),
            (L::Absent, 60, 60, S::Expired),
            (L::Failed, 1, 1, S::Fresh),
            (L::Failed, 2, 2, S::Expired),
        ] {
            let age_and_tried = (Duration::from_secs(age), Duration::from_secs(tried));
            let judged = LIFETIMES.standing(lookup, age_and_tried.0, age_and_tried.1);
            assert_eq!(judged, standing, "{lookup:?} {age} {tried}");
        }
    }
}

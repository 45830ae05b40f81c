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

impl Standing {
    /// Of a lookup that ended `age` ago, when the last attempt to repeat it ended `tried` ago.
    pub(crate) fn of(lookup: Ending, age: Duration, tried: Duration, settings: &Settings) -> Self {
        let (stale_for, pause) = (settings.key_stale_for, settings.lookup_pause);
        match lookup {
            Ending::Found if age < settings.key_fresh_for => Self::Fresh,
            // A refresh has just failed: rest before the next.
            Ending::Found if age < stale_for && tried < pause => Self::Fresh,
            Ending::Found if age < stale_for => Self::Stale,
            Ending::Absent if age < settings.key_absent_for => Self::Fresh,
            Ending::Failed if age < pause => Self::Fresh,
            Ending::Found | Ending::Absent | Ending::Failed => Self::Expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let [since, before] = [age, tried].map(Duration::from_secs);
            let judged = Standing::of(lookup, since, before, &Settings::default());
            assert_eq!(judged, standing, "{lookup:?} {age} {tried}");
        }
    }
}

//! Pure. Whether this node's clock is right, of which Postgres' is the only witness. Callers' tokens
//! are judged by it: a node whose clock is wrong refuses everyone, and nothing else shows it.

use chrono::{DateTime, TimeDelta, Utc};

use crate::edge::Finding;

/// How far the node's clock is ahead of Postgres', which was read between two readings of it.
pub(super) fn ahead(
    before: DateTime<Utc>,
    postgres: DateTime<Utc>,
    after: DateTime<Utc>,
) -> TimeDelta {
    let nearest = postgres.max(before.min(after)).min(after.max(before));
    nearest - postgres
}

pub(super) fn is_apart(ahead: TimeDelta) -> bool {
    ahead.num_seconds().abs() >= APART_SECONDS
}

pub(super) fn finding(ahead: TimeDelta) -> Finding {
    let seconds = ahead.num_seconds();
    if !is_apart(ahead) {
        return Finding::well();
    }
    let which = if seconds < 0 { "behind" } else { "ahead of" };
    Finding::ill(format!(
        "this node's clock is {} s {which} Postgres': where it is the wrong one, good tokens are \
         refused",
        seconds.abs()
    ))
}

/// Far more than clocks that are kept by NTP, and less than is forgiven a token.
const APART_SECONDS: i64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_answer_is_no_wrong_clock_and_an_hour_is_one_either_way() {
        let at = |seconds| DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        assert_eq!(ahead(at(0), at(2), at(3)), TimeDelta::zero());
        assert_eq!(finding(ahead(at(0), at(12), at(3))), Finding::well());
        for (postgres, said) in [(-3600, "3600 s ahead of"), (3603, "3600 s behind")] {
            let ahead = ahead(at(0), at(postgres), at(3));
            assert_eq!(ahead.num_seconds().signum(), -i64::signum(postgres));
            let found = format!("{:?}", finding(ahead));
            assert!(found.contains(said), "{found}");
        }
        // It was set back by an hour while Postgres answered.
        assert_eq!(ahead(at(3600), at(2), at(1)), TimeDelta::zero());
    }
}

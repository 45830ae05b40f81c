//! Pure. When to ping a silent client, and when to give it up.

use std::time::Duration;

/// What silence asks for now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// Look again after this time.
    Wait(Duration),
    /// Ask whether it is there, then look again after this time.
    Ping(Duration),
    /// Nobody is there.
    GiveUp,
}

/// A client's silence so far, against what is allowed. Looks are rare: hearing
/// something moves no timer, and the next look finds out.
pub(super) fn judge(silent: Duration, ping_after: Duration, silence_max: Duration) -> Silence {
    if silent >= silence_max {
        return Silence::GiveUp;
    }
    if silent >= ping_after {
        return Silence::Ping(ping_after.min(silence_max - silent));
    }
    Silence::Wait(ping_after - silent)
}

/// A moment within `window`, from a random number: all of them together are
/// spread evenly.
pub(super) fn slot(window: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(random % nanos.saturating_add(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_silent_client_is_pinged_and_then_given_up() {
        let judge = |silent| judge(secs(silent), secs(30), secs(75));
        assert_eq!(judge(0), Silence::Wait(secs(30)));
        assert_eq!(judge(29), Silence::Wait(secs(1)));
        assert_eq!(judge(30), Silence::Ping(secs(30)));
        assert_eq!(judge(60), Silence::Ping(secs(15)));
        assert_eq!(judge(75), Silence::GiveUp);
    }

    #[test]
    fn slots_lie_within_their_window() {
        for random in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(slot(secs(15), random) <= secs(15));
            assert_eq!(slot(Duration::ZERO, random), Duration::ZERO);
        }
    }
}

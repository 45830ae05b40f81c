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
}

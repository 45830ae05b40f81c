//! Pure. Whether a connection is in use, so that an unused one can be closed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How long a connection may go without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Before its first request.
    pub(super) first: Duration,
    /// After any other.
    pub(super) idle: Duration,
}

/// What one connection is doing. Times are counted from its handshake.
#[derive(Debug, Default)]
pub(super) struct Activity {
    in_flight: AtomicU32,
    /// When the last request ended, in milliseconds. Zero: none has come yet.
    quiet_since: AtomicU64,
}

/// What to do about a connection now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Close,
    LookAgainIn(Duration),
}

impl Activity {
    pub(super) fn verdict(&self, patience: Patience, age: Duration) -> Verdict {
        if self.in_flight.load(Ordering::Acquire) > 0 {
            // Not before it could have been quiet for long enough.
            return Verdict::LookAgainIn(patience.idle);
        }
        let (since, allowed) = match self.quiet_since.load(Ordering::Acquire) {
            0 => (Duration::ZERO, patience.first),
            millis => (Duration::from_millis(millis), patience.idle),
        };
        match (since + allowed).checked_sub(age) {
            None | Some(Duration::ZERO) => Verdict::Close,
            Some(left) => Verdict::LookAgainIn(left),
        }
    }

    /// A request has come. Pair it with one `end`.
    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// A request's answer is written or given up, at this age of the connection.
    pub(super) fn end(&self, age: Duration) {
        let millis = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        // Zero means "none yet", and one has just ended.
        self.quiet_since.fetch_max(millis.max(1), Ordering::AcqRel);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(10),
        idle: Duration::from_secs(60),
    };

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_without_a_first_request_is_closed_sooner_than_an_idle_one() {
        let activity = Activity::default();
        assert_eq!(
            activity.verdict(PATIENCE, secs(4)),
            Verdict::LookAgainIn(secs(6))
        );
        assert_eq!(activity.verdict(PATIENCE, secs(10)), Verdict::Close);
        activity.begin();
        activity.end(secs(5));
        assert_eq!(
            activity.verdict(PATIENCE, secs(10)),
            Verdict::LookAgainIn(secs(55))
        );
        assert_eq!(activity.verdict(PATIENCE, secs(65)), Verdict::Close);
    }

    #[test]
    fn a_request_under_way_is_never_cut_off() {
        let activity = Activity::default();
        activity.begin();
        assert_eq!(
            activity.verdict(PATIENCE, secs(400)),
            Verdict::LookAgainIn(secs(60))
        );
        activity.end(secs(500));
        assert_eq!(
            activity.verdict(PATIENCE, secs(500)),
            Verdict::LookAgainIn(secs(60))
        );
    }
}

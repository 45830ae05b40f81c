//! Since when no send can be stored, whatever its conversation. Postgres may answer everything
//! else meanwhile: so it is when somebody holds the lock of the stream.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Standstill(Arc<Mutex<Option<Failures>>>);

/// Batches of which nothing was stored, one after the other.
#[derive(Clone, Copy, Debug)]
struct Failures {
    first: Instant,
    last: Instant,
}

impl Standstill {
    /// How a batch has ended: whether the database has judged any of it.
    pub(super) fn note(&self, is_judged: bool) {
        let now = Instant::now();
        let mut failures = self.0.lock();
        *failures = match (is_judged, current(*failures, now)) {
            (true, _) => None,
            (false, before) => Some(Failures {
                first: before.map_or(now, |before| before.first),
                last: now,
            }),
        };
    }

    /// For how long it has lasted, if it does.
    pub(super) fn lasts(&self) -> Option<Duration> {
        let now = Instant::now();
        current(*self.0.lock(), now).map(|failures| now - failures.first)
    }
}

fn current(failures: Option<Failures>, now: Instant) -> Option<Failures> {
    failures.filter(|failures| now - failures.last < TRIED_WITHIN)
}

/// Of a node to which nobody sends any more, it is not known.
const TRIED_WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_lasts_from_the_first_failure_until_something_is_stored() {
        let standstill = Standstill::default();
        assert_eq!(standstill.lasts(), None);
        standstill.note(false);
        for _ in 0..3 {
            advance(40 * SECOND).await;
            standstill.note(false);
        }
        assert_eq!(standstill.lasts(), Some(120 * SECOND));
        standstill.note(true);
        assert_eq!(standstill.lasts(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_nobody_has_tried_for_a_minute_and_then_begins_anew() {
        let standstill = Standstill::default();
        standstill.note(false);
        advance(TRIED_WITHIN).await;
        assert_eq!(standstill.lasts(), None);
        standstill.note(false);
        advance(SECOND).await;
        assert_eq!(standstill.lasts(), Some(SECOND));
    }
}

//! Things that are due at a moment, and things that may still come. A runtime's timers have a
//! resolution of 1 ms and are up to 2 ms late, which would be counted as the relay's.

use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::sleep_until;

/// Waits for a moment, the last bit of it on a thread, which is a fifth of a millisecond
/// late at most on a machine that is not busy. Fails if the runtime ends meanwhile.
pub async fn until(due: Instant) -> Result<(), JoinError> {
    if let Some(before) = due.checked_sub(LAST_BIT) {
        sleep_until(before.into()).await;
    }
    match due > Instant::now() {
        true => spawn_blocking(move || sleep(due.saturating_duration_since(Instant::now()))).await,
        false => Ok(()),
    }
}

/// More than the runtime's timers are late by.
const LAST_BIT: Duration = Duration::from_millis(4);

/// Knows for how long nothing more has come: what comes slowly is not lost.
#[derive(Debug)]
pub struct Stillness {
    most: u64,
    since: Instant,
}

impl Stillness {
    pub fn from(now: Instant) -> Self {
        Self {
            most: 0,
            since: now,
        }
    }

    /// For how long there have not been more than so many.
    pub fn at(&mut self, count: u64, now: Instant) -> Duration {
        if count > self.most {
            (self.most, self.since) = (count, now);
        }
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_ever_breaks_the_stillness() {
        let start = Instant::now();
        let second = |number| start + Duration::from_secs(number);
        let mut stillness = Stillness::from(start);
        let seen = [(1, 0), (2, 10), (3, 12), (4, 9), (5, 12), (6, 13)];
        let still = seen.map(|(at, count)| stillness.at(count, second(at)).as_secs());
        assert_eq!(still, [1, 0, 0, 1, 2, 0]);
    }
}

//! Pure. Exponential backoff with jitter, from a given random number.

use std::time::Duration;

/// How long to wait before the next attempt: doubles from `first` to `most`, and half of
/// each wait is random, so that nodes do not return together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits at most `first` after the first failure, and never longer than `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Goes on after failures that were counted elsewhere.
    pub fn after(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// The wait after one more failure. `random` is any uniformly drawn number.
    pub fn next(&mut self, random: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        let span = doubled.min(self.most);
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        // At least half: a wait of nothing is no backoff.
        Duration::from_nanos(nanos / 2 + random % (nanos / 2 + 1))
    }

    /// Call after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_most_and_start_over_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let highest: Vec<_> = (0..6).map(|_| backoff.next(u64::MAX / 2)).collect();
        for (wait, span) in highest.iter().zip([100, 200, 400, 800, 1000, 1000]) {
            assert!(*wait >= Duration::from_millis(span / 2));
            assert!(*wait <= Duration::from_millis(span));
        }
        let mut counted = backoff.clone().after(2);
        assert!(counted.next(u64::MAX / 2) >= Duration::from_millis(200));
        backoff.reset();
        assert!(backoff.next(7) <= Duration::from_millis(100));
    }
}

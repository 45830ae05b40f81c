//! Pure but for atomics. What the sockets of a run share: when each message was due,
//! a few histograms of latencies, and counters for the line of progress.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use hdrhistogram::{CreationError, Histogram};

/// Few enough to add up at once, many enough that sockets seldom meet.
const SHARDS: usize = 16;

/// A latency above ten minutes is ten minutes.
const LONGEST_MICROS: u64 = 600_000_000;

/// A histogram of microseconds that many tasks write to.
#[derive(Debug)]
pub struct Latencies {
    shards: Vec<Mutex<Histogram<u64>>>,
}

impl Latencies {
    pub fn new() -> Result<Self, CreationError> {
        let empty = no_latencies()?;
        let shards = (0..SHARDS).map(|_| Mutex::new(empty.clone())).collect();
        Ok(Self { shards })
    }

    /// `by` spreads the writers.
    pub fn record(&self, by: usize, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(shard) = self.shards.get(by % SHARDS) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.saturating_record(micros);
        }
    }

    /// All together.
    pub fn sum(&self) -> Result<Histogram<u64>, CreationError> {
        let mut sum = no_latencies()?;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // All have the same bounds, so that nothing is out of range.
            let _ = sum.add(&*shard);
        }
        Ok(sum)
    }
}

/// In microseconds, to three digits.
pub(crate) fn no_latencies() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
}

/// What there was so far, for the line of progress and the time line.
#[derive(Debug, Default)]
pub struct Counters {
    pub live: AtomicU64,
    pub due: AtomicU64,
    pub sent: AtomicU64,
    pub failed: AtomicU64,
    pub delivered: AtomicU64,
    pub reconnects: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// When every message was due, and in which conversation. A message carries its number
/// in its id, so that whoever receives it finds out how late it is.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    due_micros: Vec<AtomicU64>,
    conversations: usize,
}

/// Where a message belongs: the conversations write in turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    pub conversation: usize,
    /// Its number among the messages of that conversation.
    pub nth: usize,
}

impl Schedule {
    pub fn new(messages: usize, conversations: usize) -> Self {
        Self {
            start: Instant::now(),
            due_micros: (0..messages).map(|_| AtomicU64::new(u64::MAX)).collect(),
            conversations: conversations.max(1),
        }
    }

    pub fn place(&self, number: usize) -> Place {
        Place {
            conversation: number % self.conversations,
            nth: number / self.conversations,
        }
    }

    pub fn set(&self, number: usize, due: Instant) {
        let micros = due.saturating_duration_since(self.start).as_micros();
        if let (Some(slot), Ok(micros)) = (self.due_micros.get(number), u64::try_from(micros)) {
            slot.store(micros, Ordering::Release);
        }
    }

    /// How long after its time this message has come.
    pub fn latency(&self, number: usize, now: Instant) -> Option<Duration> {
        let micros = self.due_micros.get(number)?.load(Ordering::Acquire);
        let due = self.start.checked_add(Duration::from_micros(micros))?;
        now.checked_duration_since(due)
    }
}

/// The id of the `number`-th message: a ULID of now whose random part counts.
pub fn message_id(number: usize) -> String {
    let now = Utc::now().timestamp_millis().unsigned_abs();
    ulid::Ulid::from_parts(now, number as u128).to_string()
}

/// The number that [`message_id`] put there.
pub fn number_of(message_id: &str) -> Option<usize> {
    let id = ulid::Ulid::from_string(message_id).ok()?;
    usize::try_from(id.random()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_number() {
        for number in [0, 1, 77, 1_000_000] {
            let id = message_id(number);
            assert_eq!(id.len(), 26);
            assert_eq!(number_of(&id), Some(number));
        }
        assert_eq!(number_of("?"), None);
    }

    #[test]
    fn lateness_counts_from_when_a_message_was_due() {
        let schedule = Schedule::new(2, 1);
        let due = Instant::now();
        schedule.set(1, due);
        let latency = schedule.latency(1, due + Duration::from_millis(5)).unwrap();
        assert!(latency >= Duration::from_millis(5) && latency < Duration::from_millis(6));
        assert_eq!(schedule.latency(0, due), None);
        assert_eq!(schedule.latency(2, due), None);
    }

    #[test]
    fn conversations_write_in_turn() {
        let schedule = Schedule::new(10, 3);
        let place = |number| {
            let Place { conversation, nth } = schedule.place(number);
            (conversation, nth)
        };
        assert_eq!([0, 2, 3, 7].map(place), [(0, 0), (2, 0), (0, 1), (1, 2)]);
    }

    #[test]
    fn histograms_add_up() {
        let latencies = Latencies::new().unwrap();
        for by in 0..100 {
            latencies.record(by, Duration::from_millis(by as u64 + 1));
        }
        let sum = latencies.sum().unwrap();
        let median = sum.value_at_quantile(0.5);
        assert_eq!(sum.len(), 100);
        assert!((49_900..=50_100).contains(&median), "{median}");
    }
}

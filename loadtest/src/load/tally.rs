//! Pure but for atomics. What a run measured: each socket counts for itself, and
//! latencies go to a few histograms that the sockets share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
        let empty = empty()?;
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
        let mut sum = empty()?;
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            // All have the same bounds, so that nothing is out of range.
            let _ = sum.add(&*shard);
        }
        Ok(sum)
    }
}

fn empty() -> Result<Histogram<u64>, CreationError> {
    Histogram::new_with_bounds(1, LONGEST_MICROS, 3)
}

/// What there was so far, for the line of progress and the time line.
#[derive(Debug, Default)]
pub struct Counters {
    pub live: AtomicU64,
    pub sent: AtomicU64,
    pub delivered: AtomicU64,
    pub reconnects: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// When every message was due. A message carries its number in its id, so that
/// whoever receives it finds out how late it is.
#[derive(Debug)]
pub struct Schedule {
    start: Instant,
    due_micros: Vec<AtomicU64>,
}

impl Schedule {
    pub fn new(messages: usize) -> Self {
        Self {
            start: Instant::now(),
            due_micros: (0..messages).map(|_| AtomicU64::new(u64::MAX)).collect(),
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

/// The id of the `number`-th message: a ULID whose random part counts.
pub fn message_id(number: usize, unix_millis: u64) -> String {
    ulid::Ulid::from_parts(unix_millis, number as u128).to_string()
}

/// The number that [`message_id`] put there.
pub fn number_of(message_id: &str) -> Option<usize> {
    let id = ulid::Ulid::from_string(message_id).ok()?;
    usize::try_from(id.random()).ok()
}

/// What one socket saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketTally {
    pub conversation: usize,
    pub received: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub refused: u64,
    last_seq: u64,
}

impl SocketTally {
    pub fn of(conversation: usize) -> Self {
        Self {
            conversation,
            ..Self::default()
        }
    }

    /// Counts one event by its place in the stream.
    pub fn event(&mut self, seq: u64, is_message: bool) {
        match seq {
            seq if seq == self.last_seq => self.duplicated += 1,
            seq if seq < self.last_seq => self.out_of_order += 1,
            seq => {
                self.last_seq = seq;
                self.received += u64::from(is_message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_its_number() {
        for number in [0, 1, 77, 1_000_000] {
            let id = message_id(number, 1_700_000_000_000);
            assert_eq!(id.len(), 26);
            assert_eq!(number_of(&id), Some(number));
        }
        assert_eq!(number_of("?"), None);
    }

    #[test]
    fn lateness_counts_from_when_a_message_was_due() {
        let schedule = Schedule::new(2);
        let due = Instant::now();
        schedule.set(1, due);
        let latency = schedule.latency(1, due + Duration::from_millis(5)).unwrap();
        assert!(latency >= Duration::from_millis(5) && latency < Duration::from_millis(6));
        assert_eq!(schedule.latency(0, due), None);
        assert_eq!(schedule.latency(2, due), None);
    }

    #[test]
    fn a_socket_counts_what_comes_in_order_once() {
        let mut tally = SocketTally::of(0);
        for seq in [1, 2, 2, 5, 4] {
            tally.event(seq, true);
        }
        tally.event(6, false);
        assert_eq!(tally.received, 3);
        assert_eq!((tally.duplicated, tally.out_of_order), (1, 1));
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

//! When each message was due, answered and delivered, in microseconds since a common
//! origin, and what that makes of latencies.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mls_relay_loadtest::load::report::Quantiles;

use crate::figure::quantiles;

/// The moments of the messages of one server, by their numbers.
pub(crate) struct Timeline {
    origin: Instant,
    moments: Vec<Moments>,
    delivered: AtomicU64,
}

/// Zero is never.
#[derive(Default)]
struct Moments {
    due: AtomicU64,
    answered: AtomicU64,
    delivered: [AtomicU64; SOCKETS],
}

/// Sockets that each message goes to.
pub(crate) const SOCKETS: usize = 2;

impl Timeline {
    pub(crate) fn new(messages: usize) -> Self {
        Self {
            origin: Instant::now(),
            moments: (0..messages).map(|_| Moments::default()).collect(),
            delivered: AtomicU64::new(0),
        }
    }

    pub(crate) fn due(&self, number: usize, at: Instant) {
        self.moments[number]
            .due
            .store(self.micros(at), Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, number: usize) {
        let now = self.micros(Instant::now());
        self.moments[number].answered.store(now, Ordering::Relaxed);
    }

    /// A socket got it. More than once a socket is an error of the server.
    pub(crate) fn delivered(&self, number: usize, socket: usize) {
        let now = self.micros(Instant::now());
        let before = self.moments[number].delivered[socket].swap(now, Ordering::Relaxed);
        assert_eq!(before, 0, "message {number} came twice to one socket");
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(crate) fn count_answered(&self, numbers: Range<usize>) -> usize {
        let moments = self.moments[numbers].iter();
        moments
            .filter(|m| m.answered.load(Ordering::Relaxed) > 0)
            .count()
    }

    /// From when they were due until they were answered.
    pub(crate) fn answers(&self, numbers: Range<usize>) -> Quantiles {
        let moments = self.moments[numbers].iter();
        quantiles(moments.filter_map(|m| span(&m.due, &m.answered)))
    }

    /// From when they were due until a socket had them, for each socket.
    pub(crate) fn deliveries_of(&self, numbers: Range<usize>) -> Quantiles {
        let moments = self.moments[numbers].iter();
        quantiles(moments.flat_map(|m| m.delivered.iter().filter_map(|at| span(&m.due, at))))
    }

    /// From these times, in microseconds since 1970 by message, until a socket had them.
    pub(crate) fn deliveries_since(&self, times: &[(usize, i64)]) -> Quantiles {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let origin = since.saturating_sub(self.origin.elapsed()).as_micros();
        let origin = i64::try_from(origin).unwrap();
        let spans = times.iter().flat_map(|(number, at)| {
            let from = AtomicU64::new(u64::try_from(at - origin).unwrap());
            let sockets = self.moments[*number].delivered.iter();
            sockets.filter_map(|at| span(&from, at)).collect::<Vec<_>>()
        });
        quantiles(spans)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from((at - self.origin).as_micros()).unwrap()
    }
}

/// The time between two moments, if both were.
fn span(from: &AtomicU64, until: &AtomicU64) -> Option<Duration> {
    let (from, until) = (from.load(Ordering::Relaxed), until.load(Ordering::Relaxed));
    let both = from > 0 && until > 0;
    both.then(|| Duration::from_micros(until.saturating_sub(from)))
}

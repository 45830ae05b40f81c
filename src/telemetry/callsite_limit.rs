//! How many lines one place in the code may write in a second: whatever strangers or an
//! outage make it say, over and over, the log stays readable and writing it costs no worker
//! its time. The lines over that are counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Event, Metadata};
use tracing_subscriber::layer::{Context, Filter};

/// Passes the first lines of each second from each place.
pub(super) struct CallsiteLimit {
    most: LinesMax,
    began: Instant,
    /// As many as the code has places that log.
    places: Mutex<HashMap<Identifier, Second>>,
}

/// The bound, which may change.
#[derive(Clone, Debug)]
pub(super) struct LinesMax(Arc<AtomicU32>);

/// What a place has written in its last second.
#[derive(Clone, Copy)]
struct Second {
    nth: u64,
    lines: u32,
}

impl LinesMax {
    pub(super) fn new(lines: u32) -> Self {
        Self(Arc::new(AtomicU32::new(lines)))
    }

    pub(super) fn set(&self, lines: u32) {
        self.0.store(lines, Ordering::Relaxed);
    }
}

impl CallsiteLimit {
    pub(super) fn new(most: LinesMax) -> Self {
        Self {
            most,
            began: Instant::now(),
            places: Mutex::default(),
        }
    }

    fn admits(&self, place: Identifier, at: Duration) -> bool {
        let fresh = Second {
            nth: at.as_secs(),
            lines: 0,
        };
        let mut places = self.places.lock();
        let second = places.entry(place).or_insert(fresh);
        if second.nth != fresh.nth {
            *second = fresh;
        }
        second.lines = second.lines.saturating_add(1);
        second.lines <= self.most.0.load(Ordering::Relaxed)
    }
}

impl<S> Filter<S> for CallsiteLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let place = event.metadata().callsite();
        let is_admitted = self.admits(place, self.began.elapsed());
        if !is_admitted {
            metrics::counter!("relay_log_lines_dropped_total", "reason" => "repeated").increment(1);
        }
        is_admitted
    }

    // The interest stays at `sometimes`: an event that nobody was asked about before must
    // not be refused here (tracing-subscriber asserts it).
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::{Layer, SubscriberExt};

    use super::*;
    use crate::telemetry::Log;

    #[test]
    fn a_place_that_repeats_itself_is_cut_short_and_no_other() {
        let (lines, most) = (Log::default(), LinesMax::new(3));
        let written = lines.clone();
        let log = tracing_subscriber::fmt::layer()
            .with_writer(move || written.clone())
            .with_filter(CallsiteLimit::new(most.clone()));
        let log = tracing_subscriber::registry().with(log);
        tracing::subscriber::with_default(log, || {
            // Should a second begin in between, there are twice as many.
            for _ in 0..100 {
                tracing::warn!("again");
            }
            tracing::warn!("something else");
            most.set(1000);
            for _ in 0..50 {
                tracing::warn!("more");
            }
        });
        let text = lines.text();
        let count = |word: &str| text.matches(word).count();
        assert!((3..=6).contains(&count("again")), "{text}");
        assert_eq!((count("something else"), count("more")), (1, 50));
    }

    #[test]
    fn a_new_second_begins_anew() {
        let limit = CallsiteLimit::new(LinesMax::new(2));
        let log = tracing_subscriber::registry();
        let span = tracing::subscriber::with_default(log, || tracing::error_span!("some place"));
        let place = span.metadata().unwrap().callsite();
        let admits = |millis| limit.admits(place.clone(), Duration::from_millis(millis));
        assert!(admits(1900) && admits(1910) && !admits(1920));
        assert!(admits(2000));
    }
}

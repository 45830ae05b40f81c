//! A fault of ours, wherever something is counted.

use std::collections::BTreeMap;
use std::sync::Mutex;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Whoever counts in one of these metrics for the so-manieth time panics, in the middle of
/// its work.
pub(crate) struct Fault(Mutex<BTreeMap<String, u32>>);

impl Fault {
    pub(crate) fn at(places: impl IntoIterator<Item = (String, u32)>) -> Self {
        Self(Mutex::new(places.into_iter().collect()))
    }

    fn meet(&self, key: &Key) {
        let mut places = self.0.lock().unwrap();
        let left = places.get_mut(key.name()).map(|left| {
            *left -= 1;
            *left
        });
        let is_met = left == Some(0);
        if is_met {
            places.remove(key.name());
        }
        drop(places);
        assert!(!is_met, "as a fault of ours would");
    }
}

impl Recorder for Fault {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.meet(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.meet(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.meet(key);
        Histogram::noop()
    }
}

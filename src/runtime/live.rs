//! A setting that can be replaced while everyone reads it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// One area's settings, shared by every part that reads them. A reload swaps the
/// value; readers see it at their next look and never wait. A task that sleeps by a setting
/// also waits for [`Live::changed`].
#[derive(Debug)]
pub struct Live<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T> {
    value: ArcSwap<T>,
    changed: Notify,
}

impl<T> Live<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Slot {
            value: ArcSwap::from_pointee(value),
            changed: Notify::new(),
        }))
    }

    /// The current value, for a short look. Do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.value.load()
    }

    /// The current value, to keep.
    pub fn snapshot(&self) -> Arc<T> {
        self.0.value.load_full()
    }

    pub fn replace(&self, value: T) {
        self.0.value.store(Arc::new(value));
        self.0.changed.notify_waiters();
    }

    /// Resolves at the first change after this call, polled or not: so call it, look at
    /// the value, then wait, and no change is missed.
    pub fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }
}

impl<T: PartialEq> Live<T> {
    /// Replaces the value if it is another one. Whether it was.
    pub fn adopt(&self, value: T) -> bool {
        let is_new = **self.load() != value;
        if is_new {
            self.replace(value);
        }
        is_new
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_change_wakes_who_asked_before_it_and_the_same_value_is_no_change() {
        let live = Live::new(1);
        let asked_before = live.changed();
        assert!(!live.adopt(1));
        assert!(live.adopt(2));
        assert_eq!(**live.load(), 2);
        assert!(asked_before.now_or_never().is_some());
        assert!(live.changed().now_or_never().is_none());
    }
}

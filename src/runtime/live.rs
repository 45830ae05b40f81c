//! A setting that can be replaced while everyone reads it.

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// One area's settings, shared by every part that reads them. A reload swaps the
/// value; readers see it at their next look and never wait.
#[derive(Debug)]
pub struct Live<T>(Arc<ArcSwap<T>>);

impl<T> Live<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// The current value, for a short look. Do not hold it across an await.
    pub fn load(&self) -> Guard<Arc<T>> {
        self.0.load()
    }

    /// The current value, to keep.
    pub fn snapshot(&self) -> Arc<T> {
        self.0.load_full()
    }

    pub fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

//! Pure. What a connection keeps for as long as it is open.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The permits under which a connection was let in, given back when the last clone
/// is dropped. The edge puts one into every request's extensions, and whoever takes
/// the socket over (a session, after the upgrade) keeps it until the socket closes.
#[derive(Clone)]
pub struct Held {
    _permits: Arc<dyn Any + Send + Sync>,
}

impl Held {
    pub fn new(permits: impl Any + Send + Sync) -> Self {
        Self {
            _permits: Arc::new(permits),
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

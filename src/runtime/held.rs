//! What a connection keeps for as long as it is open.

use std::any::Any;
use std::sync::Arc;

use super::Cut;
use crate::types::unprintable;

/// The permits under which a connection was let in, given back when the last clone
/// is dropped. The edge puts one into every request's extensions, and whoever takes
/// the socket over (a session, after the upgrade) keeps it until the socket closes.
#[derive(Clone)]
pub struct Held(Arc<Inner<dyn Any + Send + Sync>>);

unprintable!(Held);

/// Together, since each session keeps a pointer to it.
struct Inner<P: ?Sized> {
    stream: Option<Cut>,
    _permits: P,
}

impl Held {
    pub fn new(permits: impl Any + Send + Sync) -> Self {
        Self(Arc::new(Inner {
            stream: None,
            _permits: permits,
        }))
    }

    /// The same for a stream of a connection that others share. What writes it is cut off
    /// when the last clone is dropped, or by [`Self::end`].
    pub fn of_stream(permits: impl Any + Send + Sync, stream: Cut) -> Self {
        let guard = stream.guard();
        Self(Arc::new(Inner {
            stream: Some(stream),
            _permits: (permits, guard),
        }))
    }

    /// Gives the permits back. Call it before the socket is dropped: a stream whose writer
    /// goes first would end in order, and wait for its client's window with what it has.
    pub async fn end(self) {
        if let Some(stream) = &self.0.stream {
            stream.off().await;
        }
    }
}

//! Pure. A session that sleeps lends the way to its client to the hub, so that an event goes
//! out without waking it: its task, its timers and its state are not touched.

use std::any::Any;
use std::sync::Arc;

use super::event::Event;
use super::place::Place;

/// The way to one client.
pub trait Sink: Any + Send {
    /// Writes these events, as much of them as goes out at once.
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written;
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Written {
    /// The length of the events' frames.
    pub bytes: usize,
    /// If not, the sink keeps what is left, for its owner to see to: the client takes no
    /// more now, or is gone.
    pub is_whole: bool,
}

/// Who has a session's sink.
#[derive(Default)]
pub(super) enum Loan {
    /// The session.
    #[default]
    None,
    /// The hub, and with it the session's place.
    Idle(Box<dyn Sink>, Place),
    /// The hub, which writes just now. Whether the session waits to have it back.
    Writing { wanted: bool },
}

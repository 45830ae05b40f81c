//! Pure. One thing to tell sessions, encoded at most once per framing and shared
//! by all who hear it.

use std::fmt;
use std::sync::OnceLock;

use crate::store;
use crate::types::{CoarseTime, Cursor, Seq};
use crate::wire::{
    EnvelopeError, Frame, Framing, Notice, Route, Typing, event_frame, notice_frame,
};

/// An event of the stream, or something passing that has no place in it.
pub struct Event {
    cursor: Cursor,
    route: Route,
    content: Content,
    dag_cbor: OnceLock<Option<Frame>>,
    json: OnceLock<Option<Frame>>,
}

enum Content {
    /// The envelope as Postgres keeps it.
    Stored(store::Envelope),
    Passing(Notice),
}

impl Event {
    /// An event from its envelope; the place in the stream is in its cursor.
    pub fn new(envelope: store::Envelope) -> Result<Self, EnvelopeError> {
        let read = envelope.read()?;
        Ok(Self {
            cursor: read.cursor(),
            route: read.route().clone(),
            content: Content::Stored(envelope),
            dag_cbor: OnceLock::new(),
            json: OnceLock::new(),
        })
    }

    /// An event from the text of its envelope, as it was notified.
    pub fn parse(envelope: &str) -> Result<Self, EnvelopeError> {
        Self::new(store::Envelope::new(envelope))
    }

    /// Somebody types: told to who listens now, kept nowhere.
    pub fn typing(typing: Typing) -> Self {
        Self {
            cursor: Cursor::new(CoarseTime::from_unix_seconds(0), Seq::ZERO),
            route: Route::Convo(typing.convo_id.clone()),
            content: Content::Passing(Notice::Typing(typing)),
            dag_cbor: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    pub fn seq(&self) -> Seq {
        self.cursor.seq()
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Whether it is part of the stream, which must arrive, and not just passing.
    pub fn is_stored(&self) -> bool {
        matches!(self.content, Content::Stored(_))
    }

    /// Its frame. The first who asks encodes it. `None` only if the envelope has
    /// no form in this framing, which no envelope of ours comes to.
    pub fn frame(&self, framing: Framing) -> Option<&Frame> {
        let cell = match framing {
            Framing::DagCbor => &self.dag_cbor,
            Framing::Json => &self.json,
        };
        cell.get_or_init(|| self.encode(framing)).as_ref()
    }

    fn encode(&self, framing: Framing) -> Option<Frame> {
        match &self.content {
            Content::Passing(notice) => notice_frame(framing, notice).ok(),
            Content::Stored(envelope) => {
                event_frame(framing, self.seq(), &envelope.read().ok()?).ok()
            }
        }
    }

    /// What keeping it costs, in bytes: the envelope, a frame of about the same
    /// length, and this value itself.
    pub fn cost(&self) -> usize {
        let text = match &self.content {
            Content::Stored(envelope) => envelope.len(),
            Content::Passing(_) => 0,
        };
        2 * text + size_of::<Self>()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event(~)")
    }
}

//! Pure. One thing to tell sessions, encoded at most once per framing and shared
//! by all who hear it.

use std::sync::{Arc, OnceLock};

use crate::store::{self, Announced};
use crate::types::{CoarseTime, Cursor, Seq, unprintable};
use crate::wire::calls::MessageView;
use crate::wire::{EnvelopeError, Frame, Framing, Passing, Route, event_frame, passing_frame};

/// An event of the stream, or something passing that has no place in it.
pub struct Event {
    cursor: Cursor,
    route: Route,
    content: Content,
    dag_cbor: OnceLock<Option<Frame>>,
    json: OnceLock<Option<Frame>>,
}

unprintable!(Event);

enum Content {
    /// The envelope as Postgres keeps it.
    Stored(store::Envelope),
    /// The same of a message's coming.
    Message(store::Envelope),
    /// And with the message itself.
    Hydrated(store::Envelope, Box<MessageView>),
    Passing(Passing),
}

impl Event {
    /// An event from its envelope; the place in the stream is in its cursor.
    pub fn new(envelope: store::Envelope) -> Result<Self, EnvelopeError> {
        let read = envelope.read()?;
        let (cursor, route) = (read.cursor(), read.route().clone());
        let content = match read.is_message() {
            true => Content::Message(envelope),
            false => Content::Stored(envelope),
        };
        Ok(Self::of(cursor, route, content))
    }

    /// An event from the text of its envelope, as it was notified.
    pub fn parse(envelope: &str) -> Result<Self, EnvelopeError> {
        Self::new(store::Envelope::new(envelope))
    }

    /// Something that is told to those who listen now, and kept nowhere.
    pub fn passing(passing: Passing) -> Self {
        let cursor = Cursor::new(CoarseTime::from_unix_seconds(0), Seq::ZERO);
        let route = Route::Convo(passing.convo().clone());
        Self::of(cursor, route, Content::Passing(passing))
    }

    fn of(cursor: Cursor, route: Route, content: Content) -> Self {
        Self {
            cursor,
            route,
            content,
            dag_cbor: OnceLock::new(),
            json: OnceLock::new(),
        }
    }

    /// The same event, with the message that it announces.
    pub fn hydrated(&self, message: MessageView) -> Option<Self> {
        let Content::Message(envelope) = &self.content else {
            return None;
        };
        let content = Content::Hydrated(envelope.clone(), Box::new(message));
        Some(Self::of(self.cursor, self.route.clone(), content))
    }

    /// Whether it announces a message that does not come with it.
    pub fn is_message(&self) -> bool {
        matches!(self.content, Content::Message(_))
    }

    /// The message that it announces.
    pub fn announces(&self) -> Option<Announced> {
        let Content::Message(envelope) = &self.content else {
            return None;
        };
        let Route::Convo(convo) = &self.route else {
            return None;
        };
        Some(Announced {
            convo: convo.clone(),
            message_id: envelope.read().ok()?.message_id()?,
            at: self.cursor.time(),
        })
    }

    /// The bytes of the message that comes with it.
    pub fn message_bytes(&self) -> usize {
        match &self.content {
            Content::Hydrated(_, message) => message.ciphertext.0.len(),
            _ => 0,
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
        !matches!(self.content, Content::Passing(_))
    }

    /// Its frame. The first to ask encodes it. `None` only if the envelope has
    /// no form in this framing, which no envelope of ours comes to.
    pub fn frame(&self, framing: Framing) -> Option<&Frame> {
        let cell = match framing {
            Framing::DagCbor => &self.dag_cbor,
            Framing::Json => &self.json,
        };
        cell.get_or_init(|| self.encode(framing)).as_ref()
    }

    fn encode(&self, framing: Framing) -> Option<Frame> {
        let (envelope, message) = match &self.content {
            Content::Passing(passing) => return passing_frame(framing, passing).ok(),
            Content::Stored(envelope) | Content::Message(envelope) => (envelope, None),
            Content::Hydrated(envelope, message) => (envelope, Some(&**message)),
        };
        event_frame(framing, self.seq(), &envelope.read().ok()?, message).ok()
    }

    /// What keeping it costs, in bytes: what it holds, frames of about the same length
    /// (a third more in base64), and this value itself.
    pub fn cost(&self) -> usize {
        let held = match &self.content {
            Content::Stored(envelope) | Content::Message(envelope) => 2 * envelope.bytes(),
            Content::Hydrated(envelope, message) => {
                2 * envelope.bytes() + 4 * message.ciphertext.0.len()
            }
            Content::Passing(passing) => 4 * passing.ciphertext_len(),
        };
        held + size_of::<Self>()
    }
}

/// A row of the stream. An envelope that cannot be read still has its place.
#[derive(Clone, Debug)]
pub struct Stored {
    pub seq: Seq,
    pub event: Option<Arc<Event>>,
}

impl From<store::StoredEvent> for Stored {
    fn from(row: store::StoredEvent) -> Self {
        Self {
            seq: row.seq,
            event: Event::new(row.envelope).ok().map(Arc::new),
        }
    }
}

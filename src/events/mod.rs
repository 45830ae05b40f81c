//! From the database to the sessions: follow the stream, keep it whole, and give
//! every session exactly the events of its conversations, once and in order.

mod board;
mod circle;
mod event;
mod outbox;
mod place;
mod recent;
mod sequence;
mod topics;

#[cfg(test)]
mod interleavings;

pub use board::{Attached, Board, Tally};
pub use circle::{Circle, Interval};
pub use event::Event;
pub use outbox::{Offer, Outbox, Taken};
pub use place::{Pace, Place, Start, start};
pub use recent::Backlog;
pub use sequence::{Announced, Read, Sequence};
pub use topics::SeatId;

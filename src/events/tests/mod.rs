//! The event path as a whole, against a log in memory that does what a test wants.

mod faults;
mod handover;
mod hydration;
mod interleavings;
mod journeys;
mod loans;
pub(crate) mod memory;
mod replays;
mod slow;
mod strays;
mod streams;
pub(crate) mod subscriber;

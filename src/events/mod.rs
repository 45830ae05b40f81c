//! From the database to the sessions: follow the stream, keep it whole, and give
//! every session exactly the events of its conversations, once and in order.
//!
//! ```text
//! Postgres ── NOTIFY ─> ear ─> follower ─> dispatcher ─> outbox ─> subscription ─> a session
//!    │                          │ sequence    │ board                   ▲
//!    ├── events not told of ────┘             └ recent ─> what it ──────┤
//!    └── older ones ─────────────────────────── replays ─> has missed ──┘
//! ```
//!
//! The `board` says how a session goes live without a gap or a duplicate.

mod board;
mod canary;
mod circle;
mod dispatcher;
mod ear;
mod event;
mod follower;
mod health;
mod hub;
mod hydration;
mod journal;
mod loan;
mod outbox;
mod passing;
mod place;
mod reading;
mod recent;
mod replays;
mod runs;
mod seat;
mod sequence;
mod settings;
mod subscription;
mod topics;

#[cfg(test)]
pub(crate) mod tests;

pub use board::Board;
pub use circle::Subscriber;
pub use event::{Event, Stored};
pub use health::{Health, Hearing};
pub use hub::Hub;
pub use journal::{Answer, Bell, Journal};
pub use loan::{Sink, Written};
pub use outbox::{Due, Outbox};
pub use passing::PassingError;
pub use reading::SubscriptionError;
pub use settings::Settings;
pub use subscription::{News, Subscription};

//! Subscriptions, over WebSocket or as server-sent events: the door, and then one small
//! task for each open session.
//!
//! ```text
//! request ─> door ─> serve ── events ──> line (socket | event_stream) ──> client
//!             │        ▲                  │
//!             │        └── hearing <──────┘ what the client says
//!             └ whatever can be refused is refused here
//! ```

mod allowance;
mod bell;
#[cfg(test)]
mod breach_tests;
mod bridge;
mod door;
mod event_stream;
#[cfg(test)]
mod event_stream_tests;
mod farewell;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod goodbye_tests;
mod handshake;
mod hearing;
mod inlet;
mod keepalive;
mod line;
mod meters;
mod rest;
mod serve;
mod settings;
mod shared;
mod slow;
#[cfg(test)]
mod slow_tests;
mod socket;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;
mod waits;

pub use door::Sessions;
pub use settings::Settings;

use meters::Meters;
use shared::Shared;

//! Subscriptions over WebSocket: the handshake, and then one small task for each
//! open session.

mod door;
mod handshake;
mod inlet;
mod keepalive;
mod meters;
mod serve;
mod settings;
mod socket;
#[cfg(test)]
mod tests;

pub use door::Sessions;
pub use settings::Settings;

use meters::Meters;

//! Clients of the relay, as a phone would be one: real keys, real MLS, TLS and
//! WebSocket. The demo and the load generator are built from them, and the
//! relay's own tests borrow them. Nothing here depends on the server.

pub mod ask;
pub mod demo;
pub mod directory;
pub mod frame;
pub mod identity;
pub mod load;
pub mod mls;
pub mod phone;
pub mod receipt;
pub mod relay;
pub mod relay_process;
#[cfg(test)]
mod stand_in;
pub mod subscription;
mod told_to_stop;
mod trust;
pub mod xrpc_client;

use std::io::Write;

pub use told_to_stop::told_to_stop;

/// Writes to the terminal. A closed pipe ends what is told, and not what it is told of.
pub fn say(text: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// An error with all its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<_> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

//! mls-relay: encrypted group chat for ATProto accounts, carried to phones over WebSockets.
//! It terminates TLS itself, and is an MLS delivery service (RFC 9420).
//!
//! The modules, in the order in which a message meets them:
//!
//! ```text
//! phone ── https ─> edge ─> limits ─> auth ─> xrpc ─> mls (framing) ─> store ── NOTIFY ─┐
//! phone <── wss ─── session <─────────────────── events (listener ─> hub ─> queue) <────┘
//! ```
//!
//! Imports run the other way, from the outside in; `tests/integration/tidy.rs` checks it:
//! `app → config → {edge | postgres} → {xrpc | session} → refusal
//! → {limits | auth | blocks | receipt | tls} → {events | retention} → store
//! → {telemetry | runtime | outbound} → {wire | mls} → types`.

#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod blocks;
pub mod config;
pub mod edge;
pub mod events;
pub mod limits;
pub mod mls;
pub mod outbound;
pub mod postgres;
pub mod receipt;
pub mod refusal;
pub mod retention;
pub mod runtime;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod types;
pub mod wire;
pub mod xrpc;

// The targets of `fuzz/` name this crate as a fuzzer does.
#[cfg(test)]
extern crate self as mls_relay;
#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod fuzz;

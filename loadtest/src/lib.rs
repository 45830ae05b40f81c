//! Clients of the relay, as a phone would be one: real keys, real MLS, TLS and
//! WebSocket. The demo and the load generator are built from them, and the
//! relay's own tests borrow them. Nothing here depends on the server.

pub mod mls;

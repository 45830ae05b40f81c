//! The calls: a request in, an answer out. Each family has a file; each handler
//! reads: take the input, check what MLS shows, let the store decide, answer.

mod answer;
mod body;
mod calls;
mod context;
mod convos;
mod devices;
mod handshake;
mod key_packages;
mod membership;
mod messages;
mod packages;
mod settings;
mod tickets;
mod welcomes;

pub use calls::Calls;
pub use settings::Settings;

//! The calls: a request in, an answer out. Each family has a file; each handler
//! reads: take the input, check what MLS shows, let the store decide, answer.

mod answer;
mod blocks;
mod body;
mod calls;
mod consent;
mod context;
mod convos;
mod devices;
mod dispatch;
mod group_info;
mod handshake;
mod key_packages;
mod membership;
mod messages;
mod once;
mod packages;
mod rejoin;
mod reports;
mod roles;
mod settings;
mod tickets;
mod turns;
mod welcomes;

pub use calls::Calls;
pub use context::Parts;
pub use settings::Settings;

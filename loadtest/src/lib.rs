//! The client side of mls-relay: accounts, a local directory, phones.

pub mod directory;
pub mod identity;

//! Pure. What a delivery service can see of MLS (RFC 9420): the framing of
//! messages, and key packages, which are public. Nothing here decrypts, and
//! nothing here claims to know what only members can check.
//!
//! # Why not an MLS library
//! Parsing is all the relay may do. A library would bring key schedules, trees and
//! their crypto into a server that must not hold a key; the structures that are
//! in the clear fit in a few small files, tested against a library's own bytes.

mod commit;
mod framing;
mod group_info;
mod key_package;
mod leaf_node;
mod message;
mod reader;
mod signature;
mod welcome;

pub use commit::{Commit, ProposalKind};
pub use framing::{ContentType, Framing, PublicMessage, Sender};
pub use group_info::GroupInfo;
pub use key_package::{KeyPackage, KeyPackageFault};
pub use leaf_node::{Credential, LeafNode, Lifetime};
pub use message::Message;
pub use reader::MlsError;
pub use welcome::Welcome;

//! Pure. What everything is called: identifiers, positions and times as types
//! that are checked once, at the edge, and cannot be printed by accident.

mod cipher_suite;
mod client_ip;
mod cursor;
mod hex;
mod identifier;
mod nsid;
mod pseudonym;
mod sha256;
mod time;
mod unprintable;
mod uuid_of;

pub use cipher_suite::CipherSuite;
pub use client_ip::ClientIp;
pub use cursor::{Cursor, CursorError, Seq};
pub(crate) use hex::hex;
pub use identifier::{ConvoId, DeviceId, Did, Epoch, IdentifierError, Jti, MessageId};
pub use nsid::{Kind, Nsid};
pub use pseudonym::Pseudonym;
pub(crate) use sha256::{sha256, sha256_of};
pub use time::{CoarseTime, GRAIN_SECONDS};
pub(crate) use unprintable::unprintable;
pub use uuid_of::uuid_of;

//! Pure. What everything is called: identifiers, positions and times as types
//! that are checked once, at the edge, and cannot be printed by accident.

mod cipher_suite;
mod client_ip;
mod cursor;
mod digest;
mod identifier;
mod nsid;
mod pseudonym;
mod time;
mod unprintable;

pub use cipher_suite::CipherSuite;
pub use client_ip::ClientIp;
pub use cursor::{Cursor, CursorError, Seq};
pub use digest::uuid_of;
pub(crate) use digest::{hex, sha256, sha256_of};
pub use identifier::{ConvoId, DeviceId, Did, Epoch, IdentifierError, Jti, MessageId};
pub use nsid::{Kind, Nsid};
pub use pseudonym::Pseudonym;
pub(crate) use pseudonym::random_key;
pub use time::CoarseTime;
pub(crate) use unprintable::unprintable;

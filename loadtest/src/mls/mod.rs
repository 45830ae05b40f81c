//! The MLS side of a client: keys of one device, the group as that device sees
//! it, and the padding that hides how long a message is. Nothing here knows the
//! network.

mod device;
mod group;
pub mod padding;

pub use device::{CIPHER_SUITE_NAME, Device, key_package_hash};
pub use group::{Commit, Group, Received};

/// What OpenMLS, or our use of it, refused. The text is for the person at the
/// terminal; nothing decides on it.
#[derive(Debug, thiserror::Error)]
pub enum MlsError {
    #[error("{step}: {reason}")]
    Refused { step: &'static str, reason: String },
    #[error("the message is not MLS, or is followed by something other than padding")]
    Malformed,
    #[error("no member has this identity")]
    NoSuchMember,
}

impl MlsError {
    /// For `map_err`: OpenMLS has an error type a call, and here they all end.
    fn at<E: std::fmt::Debug>(step: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Refused {
            step,
            reason: format!("{error:?}"),
        }
    }
}

//! Pure. What each call takes and gives: the lexicons of `lexicons/`, as types.

/// What calls take: objects of these members, by their names in camel case, and of no others.
macro_rules! input {
    ($($(#[$about:meta])* pub struct $name:ident $members:tt)+) => {$(
        $(#[$about])*
        #[derive(Clone, serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name $members

        crate::types::unprintable!($name);
    )+};
}

/// What they give.
macro_rules! output {
    ($($(#[$about:meta])* pub struct $name:ident $members:tt)+) => {$(
        $(#[$about])*
        #[derive(Clone, serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name $members

        crate::types::unprintable!($name);
    )+};
}

input! {
    /// What a call takes that takes nothing, and the parameters of every procedure.
    pub struct NoInput {}
}

mod blocks;
mod consent;
mod convos;
mod devices;
mod group_info;
mod key_packages;
mod membership;
mod messages;
mod rejoin;
mod reports;
mod roles;
mod subscription;
mod welcomes;

pub use blocks::*;
pub use consent::*;
pub use convos::*;
pub use devices::*;
pub use group_info::*;
pub use key_packages::*;
pub use membership::*;
pub use messages::*;
pub use rejoin::*;
pub use reports::*;
pub use roles::*;
pub use subscription::*;
pub use welcomes::*;

use super::{Blob, Int, Text, Unkept};

/// A commit, Welcome or GroupInfo: what one group change may weigh.
pub const HANDSHAKE_BYTES_MAX: usize = 1 << 20;

/// A commit, Welcome or GroupInfo in a request.
pub type Handshake = Blob<1, HANDSHAKE_BYTES_MAX>;

/// The `$type` by which an object within a request may say what it is (ATProto data
/// model); its place says so already.
pub type TypeName = Unkept<Text<1, 512>>;

/// How many items a page has at most: what was asked for, or what all lexicons with pages say.
pub fn page_size(limit: Option<Int<1, 100>>) -> u32 {
    let limit = limit.map_or(50, Int::get);
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// A client's name for one attempt, so that its repetition is recognised: before anything else
/// of the call is read.
pub type IdempotencyKey = Text<1, 64>;

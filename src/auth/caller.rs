//! Pure. Who is calling, once it is proved.

use crate::store::Nonce;
use crate::types::Did;

/// The account behind a request. Only this area makes one, after the proof, so
/// a function that takes a `Caller` cannot be reached without it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    did: Did,
}

/// A caller by a token that still has to be used up, before the call has any effect:
/// by [`Authenticator::use_up`](super::Authenticator::use_up), or with the call's own
/// write, which then tells [`Authenticator::used_up`](super::Authenticator::used_up).
#[derive(Debug)]
#[must_use = "the token can be used again"]
pub struct Proof {
    pub caller: Caller,
    /// None where tokens may serve again.
    pub nonce: Option<Nonce>,
}

/// Whether a signature that does not fit the key we know may have it looked up anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SecondLook {
    Allowed,
    /// Who asked would see by the time it takes that we know a key.
    Denied,
}

impl SecondLook {
    pub fn unless(denied: bool) -> Self {
        match denied {
            true => Self::Denied,
            false => Self::Allowed,
        }
    }
}

/// The account that a request names, before its proof is looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claimed {
    pub did: Did,
    /// By a ticket of ours, which nobody else can make.
    pub by_ticket: bool,
}

impl Caller {
    pub(super) fn proved(did: Did) -> Self {
        Self { did }
    }

    /// The account.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// A caller without proof, for the unit tests of other areas and for fuzzers.
    #[cfg(any(test, fuzzing))]
    #[allow(clippy::unwrap_used, reason = "no part of the relay")]
    pub(crate) fn assumed(did: &str) -> Self {
        Self::proved(Did::parse(did).unwrap())
    }
}

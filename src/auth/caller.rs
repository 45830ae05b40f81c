//! Pure. Who is calling, once it is proved.

use crate::types::Did;

/// The account behind a request. Only this area makes one, after the proof, so
/// a function that takes a `Caller` cannot be reached without it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Caller {
    did: Did,
}

impl Caller {
    pub(super) fn proved(did: Did) -> Self {
        Self { did }
    }

    /// The account.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// A caller without proof, for the unit tests of other areas.
    #[cfg(test)]
    pub(crate) fn assumed(did: &str) -> Self {
        Self::proved(Did::parse(did).unwrap())
    }
}

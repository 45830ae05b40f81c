//! Pure. What is counted apart, besides who.

/// A rule's number, or one of these.
pub(super) type Domain = u8;

/// From here on, the calls that have no rule of their own.
pub(super) const CALLS: Domain = 64;

/// Which accounts proved themselves lately, and where any did.
pub(super) const FAMILIAR_ACCOUNT: Domain = 200;
pub(super) const FAMILIAR_ADDRESS: Domain = 201;

/// What the reserves of accounts are counted in.
pub(super) const RESERVED_VERIFICATIONS: Domain = 202;
pub(super) const PROVED_RESERVE: Domain = 203;
pub(super) const PROVED_VERIFICATIONS: Domain = 204;

/// Which accounts proved themselves on a connection.
pub(super) const PROVED_HERE: Domain = 222;

/// Since when accounts are in good standing.
pub(super) const GOOD_STANDING: Domain = 210;

/// Who is in the penalty box.
pub(super) const PENALTY_BOX: Domain = 220;

/// Where requests of an address wait for each other.
pub(super) const VERIFYING: Domain = 221;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Rule;
    use crate::types::Nsid;

    #[test]
    fn domains_do_not_overlap() {
        assert!(Rule::ALL.len() < usize::from(CALLS));
        assert!(usize::from(CALLS) + Nsid::ALL.len() < 200);
    }
}

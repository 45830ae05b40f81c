//! What was said of pairs of accounts, remembered for a while.

use std::time::Duration;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::relationships::{Between, Evidence};
use crate::store::Said;
use crate::types::{CoarseTime, Did};
use crate::wire::calls::BlockView;

/// By two accounts in their order; what is kept is seen from the first.
pub(super) struct Pairs(Cache<(Did, Did), Known>);

/// What the AppView said of two accounts.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) between: Between,
    pub(super) asked_at: Instant,
    pub(super) said_at: CoarseTime,
}

impl Pairs {
    pub(super) fn new(most: usize) -> Self {
        Self(Cache::new(most))
    }

    /// What was said within this time, as `one` sees it.
    pub(super) fn known(&self, one: &Did, other: &Did, within: Duration) -> Option<Known> {
        let (pair, is_turned) = Pair::in_order(one, other);
        let mut known = self.0.get(&pair)?;
        if known.asked_at.elapsed() > within {
            return None;
        }
        if is_turned {
            known.between = known.between.turned();
        }
        Some(known)
    }

    pub(super) fn keep(&self, one: &Did, other: &Did, mut known: Known) {
        let (Pair(first, second), is_turned) = Pair::in_order(one, other);
        if is_turned {
            known.between = known.between.turned();
        }
        self.0.insert((first.clone(), second.clone()), known);
        metrics::gauge!("relay_blocks_pairs_remembered").set(self.0.len() as f64);
    }
}

impl Known {
    /// The blocks between two accounts, as the first sees them.
    pub(super) fn blocks(&self, one: &Did, other: &Did, into: &mut Vec<BlockView>) {
        let sides = self.sides(one, other).into_iter();
        into.extend(sides.filter_map(|(blocker, blocked, evidence)| {
            let Evidence(uri) = evidence.as_ref()?;
            Some(BlockView {
                blocker_did: blocker.clone(),
                blocked_did: blocked.clone(),
                created_at: self.said_at,
                block_uri: uri.clone(),
            })
        }));
    }

    pub(super) fn said(&self, one: &Did, other: &Did, into: &mut Vec<Said>) {
        let sides = self.sides(one, other).into_iter();
        into.extend(sides.map(|(blocker, blocked, evidence)| Said {
            blocker: blocker.clone(),
            blocked: blocked.clone(),
            uri: evidence.as_ref().and_then(|Evidence(uri)| uri.clone()),
            exists: evidence.is_some(),
        }));
    }

    /// Who may block whom, and whether it is so.
    fn sides<'a>(&'a self, one: &'a Did, other: &'a Did) -> [Side<'a>; 2] {
        let Between {
            blocking,
            blocked_by,
        } = &self.between;
        [(one, other, blocking), (other, one, blocked_by)]
    }
}

type Side<'a> = (&'a Did, &'a Did, &'a Option<Evidence>);

/// Two accounts in their order: as what is remembered of them is found.
#[derive(Hash)]
struct Pair<'a>(&'a Did, &'a Did);

impl<'a> Pair<'a> {
    /// And whether that is the other way round.
    fn in_order(one: &'a Did, other: &'a Did) -> (Self, bool) {
        if one <= other {
            (Self(one, other), false)
        } else {
            (Self(other, one), true)
        }
    }
}

impl Equivalent<(Did, Did)> for Pair<'_> {
    fn equivalent(&self, (first, second): &(Did, Did)) -> bool {
        self.0 == first && self.1 == second
    }
}

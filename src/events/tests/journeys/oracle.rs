//! What Postgres was told to keep, and what it lost.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use crate::events::circle::Circle;
use crate::events::tests::memory::LEAP;
use crate::store::Membership;
use crate::types::{ConvoId, Seq};

/// What the test itself has done.
#[derive(Default)]
pub(super) struct Oracle {
    pub(super) last: u64,
    pub(super) floor: u64,
    /// Of each event, what it is about.
    pub(super) events: Vec<(u64, usize)>,
    pub(super) stays: HashMap<usize, Vec<Membership>>,
    pub(super) spoilt: HashSet<u64>,
    /// What a failover undid.
    undone: Vec<RangeInclusive<u64>>,
    /// Stays whose end was undone, with their account.
    resumed: Vec<(usize, Membership)>,
}

impl Oracle {
    pub(super) fn circle(&self, account: usize) -> Circle {
        let stays = self.stays.get(&account).cloned();
        Circle::as_of(Seq::LAST, stays.unwrap_or_default())
    }

    /// Whether an account was in a conversation at every moment since this event.
    pub(super) fn has_stayed(&self, account: usize, convo: &ConvoId, since: u64) -> bool {
        let stays_since = |at| {
            let circle = self.circle(account);
            let mut stays = circle.stays().iter();
            stays.any(|stay| stay.convo == *convo && stay.joined <= at && stay.left.is_none())
        };
        !self.may_have_been_undone(since) && stays_since(Seq::new(since))
    }

    /// Whether an account had left after this event, until a failover undid that: of what is lost
    /// nobody told it then, and where things stand it hears when it comes again.
    pub(super) fn had_left(&self, account: usize, convo: &ConvoId, seq: u64) -> bool {
        let covers = |stay: &Membership| {
            let is_before = stay.left.is_some_and(|left| seq <= left.get());
            stay.convo == *convo && stay.joined.get() <= seq && is_before
        };
        let mut resumed = self.resumed.iter();
        resumed.any(|(who, stay)| *who == account && covers(stay))
    }

    /// Whether a failover may have undone what stood here.
    pub(super) fn may_have_been_undone(&self, at: u64) -> bool {
        self.undone.iter().any(|undone| *undone.end() >= at)
    }

    pub(super) fn is_undone(&self, seq: u64) -> bool {
        self.undone.iter().any(|undone| undone.contains(&seq))
    }

    pub(super) fn is_lost(&self, seq: u64) -> bool {
        seq <= self.floor || self.spoilt.contains(&seq)
    }

    /// The last events but so many are all there is: it has had what is forgotten. It may lack the
    /// failover before. After which event the numbers go on where.
    pub(super) fn fail_over(&mut self, but: usize) -> (u64, u64) {
        let known = self.events.partition_point(|(seq, _)| *seq <= self.floor);
        let kept = self.events.len().saturating_sub(but);
        self.events.truncate(kept.max(known));
        let last = self.events.last().map_or(0, |(seq, _)| *seq);
        let last = last.max(self.floor);
        for (account, stays) in &mut self.stays {
            stays.retain(|stay| stay.joined.get() <= last);
            for stay in stays {
                if stay.left.is_some_and(|left| left.get() > last) {
                    self.resumed.push((*account, stay.clone()));
                    stay.left = None;
                }
            }
        }
        self.undone.push(last + 1..=self.last);
        // A second later each time.
        self.last = (last + 1_000_000).max(LEAP + 1_000_000 * self.undone.len() as u64);
        (last, self.last)
    }
}

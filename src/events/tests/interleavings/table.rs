//! What Postgres knows: the oracle.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::{ACCOUNTS, convo_id, did};
use crate::events::circle::Circle;
use crate::events::*;
use crate::store::Membership;
use crate::types::{ConvoId, Seq};
use crate::wire::{Passing, Route, Typing};

/// What Postgres knows.
#[derive(Default)]
pub(super) struct Table {
    pub(super) last: u64,
    /// What is older has been forgotten.
    pub(super) floor: u64,
    pub(super) events: Vec<Arc<Event>>,
    /// Changes whose events are lost.
    pub(super) unseen: Vec<Seq>,
    /// What can no longer be read.
    pub(super) spoilt: Vec<Seq>,
    /// What a failover undid.
    pub(super) undone: Vec<RangeInclusive<Seq>>,
    /// What was said in passing, and what was the last event then.
    pub(super) mentions: Vec<(Arc<Event>, Seq)>,
    /// Of each account.
    pub(super) stays: [Vec<Membership>; ACCOUNTS],
}

impl Table {
    pub(super) fn commit(&mut self, rest: &str) -> Arc<Event> {
        self.last += 1;
        let text = format!(r#"{{"cursor":"{}",{rest}}}"#, self.last);
        let event = Arc::new(Event::parse(&text).unwrap());
        self.events.push(Arc::clone(&event));
        event
    }

    pub(super) fn move_account(&mut self, account: usize, convo: usize) -> Arc<Event> {
        let (name, at) = (convo_id(convo), Seq::new(self.last + 1));
        let stays = &mut self.stays[account];
        let open = stays
            .iter_mut()
            .find(|s| s.convo == name && s.left.is_none());
        let action = match open {
            Some(open) => {
                open.left = Some(at);
                "removed"
            }
            None => {
                let (convo, joined) = (name.clone(), at);
                stays.push(Membership {
                    convo,
                    joined,
                    left: None,
                });
                "joined"
            }
        };
        let (convo, did) = (name.expose(), did(account));
        let did = did.expose();
        self.commit(&format!(
            r#""convoId":"{convo}","type":"membershipChange","did":"{did}","action":"{action}""#
        ))
    }

    /// The last events but so many are all there is: it has had what is forgotten.
    pub(super) fn fail_over(&mut self, but: usize) {
        let floor = Seq::new(self.floor);
        let forgotten = self.events.partition_point(|event| event.seq() <= floor);
        let kept = self.events.len().saturating_sub(but);
        self.events.truncate(kept.max(forgotten));
        let kept = self.events.last().map_or(0, |event| event.seq().get());
        let kept = Seq::new(kept.max(self.floor));
        for stays in &mut self.stays {
            stays.retain(|stay| stay.joined <= kept);
            for stay in stays {
                stay.left = stay.left.filter(|left| *left <= kept);
            }
        }
        self.undone.push(kept.next()..=Seq::new(self.last));
        // Farther than it can be behind.
        self.last += 10;
    }

    pub(super) fn is_undone(&self, at: Seq) -> bool {
        self.undone.iter().any(|undone| undone.contains(&at))
    }

    /// Whether what stood here may have been undone since.
    pub(super) fn may_have_been_undone(&self, at: Seq) -> bool {
        self.undone.iter().any(|undone| *undone.end() >= at)
    }

    pub(super) fn mention(&mut self, convo: usize) -> Arc<Event> {
        let event = Arc::new(Event::passing(Passing::Typing(Typing {
            convo_id: convo_id(convo),
            did: did(0),
            is_typing: true,
        })));
        let last = Seq::new(self.last);
        self.mentions.push((Arc::clone(&event), last));
        event
    }

    /// When this was said in passing.
    pub(super) fn mentioned_at(&self, event: &Arc<Event>) -> Seq {
        let mut all = self.mentions.iter();
        all.find(|(known, _)| Arc::ptr_eq(known, event)).unwrap().1
    }

    /// Whether nodes can take an account for one that is still in a conversation.
    pub(super) fn has_left_unseen(&self, account: usize, convo: &ConvoId) -> bool {
        self.stays[account].iter().any(|stay| {
            let is_unseen = |left| self.unseen.contains(&left);
            stay.convo == *convo && stay.left.is_some_and(is_unseen)
        })
    }

    /// Whether an account stays in a conversation when this has happened.
    pub(super) fn is_in(&self, account: usize, convo: &ConvoId, at: Seq) -> bool {
        self.stays[account].iter().any(|stay| {
            let is_over = stay.left.is_some_and(|left| left <= at);
            stay.convo == *convo && stay.joined <= at && !is_over
        })
    }

    /// The door: whether there is anything to hear for a subscriber.
    pub(super) fn has_news_for(
        &self,
        account: usize,
        filter: Option<&ConvoId>,
        after: Option<Seq>,
    ) -> bool {
        let circle = Circle::as_of(Seq::LAST, self.stays[account].clone());
        filter.is_none_or(|convo| circle.hears_after(convo, after))
    }

    /// The events an account may see: the oracle, and what a replay reads.
    pub(super) fn seen(
        &self,
        account: usize,
        filter: Option<&ConvoId>,
        after: Seq,
        through: Seq,
    ) -> Vec<Arc<Event>> {
        let circle = Circle::as_of(Seq::LAST, self.stays[account].clone());
        let visible = |event: &&Arc<Event>| match event.route() {
            Route::Account(did) => filter.is_none() && *did == super::did(account),
            Route::Convo(convo) | Route::Membership { convo, .. } => {
                filter.is_none_or(|filter| filter == convo) && circle.sees(convo, event.seq())
            }
        };
        let range = self
            .events
            .iter()
            .filter(|e| e.seq() > after && e.seq() <= through);
        range.filter(visible).cloned().collect()
    }
}

//! A phone, over all its connections: what it has heard, and what it knows to be missing.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::timeout;

use super::oracle::Oracle;
use super::{ACCOUNTS, convo, did};
use crate::events::*;
use crate::types::{CoarseTime, ConvoId, Cursor, Seq};
use crate::wire::Standings;

pub(super) struct Phone {
    account: usize,
    filter: Option<ConvoId>,
    hydrate: bool,
    cursor: Option<Cursor>,
    begun_after: Option<u64>,
    heard: Vec<u64>,
    /// It was told that events up to this one may be missing in these conversations.
    gaps: Vec<(u64, HashSet<ConvoId>)>,
    /// Up to here it was told of all that is missing.
    told_through: u64,
    /// It broke off before it was told what is missing here.
    untold: Vec<RangeInclusive<u64>>,
    /// What was the last event when it came, and where.
    came_at: u64,
    pub(super) node: usize,
    pub(super) subscription: Option<Subscription>,
}

impl Phone {
    pub(super) fn new(index: usize) -> Self {
        let from_the_start = !index.is_multiple_of(3);
        let beginning = Cursor::new(CoarseTime::from_unix_seconds(0), Seq::ZERO);
        Self {
            account: index % ACCOUNTS.len(),
            filter: (index >= 4).then(|| convo(0)),
            hydrate: [2, 5].contains(&index),
            cursor: from_the_start.then_some(beginning),
            begun_after: from_the_start.then_some(0),
            heard: Vec::new(),
            gaps: Vec::new(),
            told_through: 0,
            untold: Vec::new(),
            came_at: 0,
            node: 0,
            subscription: None,
        }
    }

    pub(super) fn connect(&mut self, node: usize, hub: &Hub, oracle: &Oracle) {
        let circle = oracle.circle(self.account);
        let after = self.cursor.map(Cursor::seq);
        let filter = self.filter.as_ref();
        let is_let_in = filter.is_none_or(|convo| circle.hears_after(convo, after));
        if self.subscription.is_none() && is_let_in {
            let subscriber = Subscriber {
                did: did(self.account),
                filter: self.filter.clone(),
                hydrate: self.hydrate,
            };
            self.came_at = oracle.last;
            self.node = node;
            self.told_through = after.unwrap_or_default().get();
            self.subscription = Some(hub.subscribe(subscriber, self.cursor));
        }
    }

    /// What comes within this time, one after the other. False: nothing more.
    pub(super) async fn hear(&mut self, patience: Duration, oracle: &Oracle) -> bool {
        let Some(subscription) = &mut self.subscription else {
            return false;
        };
        let Ok(news) = timeout(patience, subscription.next()).await else {
            return false;
        };
        match news {
            Ok(News::Events(events)) => {
                for event in events {
                    self.take(&event);
                }
            }
            Ok(News::Outdated) => {}
            Ok(News::Gap(standings)) => {
                let all = standings.conversations.iter();
                let named = all.map(|standing| standing.convo_id.clone()).collect();
                self.gaps.push((standings.seq.get(), named));
                self.reach(&standings, oracle);
            }
            Ok(News::Synced(standings)) => self.reach(&standings, oracle),
            Ok(News::Ended) => {
                let convo = self.filter.as_ref().expect("it is about one conversation");
                let has_stayed = oracle.has_stayed(self.account, convo, self.came_at);
                assert!(!has_stayed, "it is over for nobody who stays");
                self.hang_up();
            }
            Err(SubscriptionError::FutureCursor) => panic!("all cursors were given out"),
            // It comes again.
            Err(_) => self.hang_up(),
        }
        true
    }

    pub(super) fn hang_up(&mut self) {
        let cursor = self.cursor.map_or(0, |cursor| cursor.seq().get());
        self.untold.push(self.told_through + 1..=cursor);
        self.subscription = None;
    }

    /// Up to here it has heard everything, but what it was told of.
    fn reach(&mut self, standings: &Standings, oracle: &Oracle) {
        let at = standings.seq.get();
        assert!(self.cursor.is_none_or(|cursor| cursor.seq().get() <= at));
        self.cursor = Some(standings.cursor);
        self.begun_after.get_or_insert(at);
        self.told_through = at;
        // Whoever told it may not have known yet what was undone.
        if !oracle.may_have_been_undone(at) {
            self.check(oracle, at);
        }
    }

    fn take(&mut self, event: &Event) {
        let seq = event.seq();
        let before = self.cursor.map_or(Seq::ZERO, Cursor::seq);
        assert!(seq > before, "in order, and once");
        self.begun_after.get_or_insert(seq.get() - 1);
        self.cursor = Some(event.cursor());
        self.heard.push(seq.get());
    }

    /// Whether it knows that this is missing to it.
    fn is_excused(&self, oracle: &Oracle, seq: u64, about: &ConvoId) -> bool {
        let circle = oracle.circle(self.account);
        let mut stays = circle.stays().iter();
        // What is over it may have lost: it is told nothing of that.
        let stays_on = stays
            .any(|stay| stay.convo == *about && stay.joined.get() <= seq && stay.left.is_none());
        let mut gaps = self.gaps.iter();
        let is_named = gaps.any(|(through, named)| seq <= *through && named.contains(about));
        let broke_off = self.untold.iter().any(|range| range.contains(&seq));
        let had_left = oracle.had_left(self.account, about, seq);
        oracle.is_lost(seq) && (!stays_on || is_named || broke_off || had_left)
    }

    pub(super) fn check(&self, oracle: &Oracle, through: u64) {
        let circle = oracle.circle(self.account);
        let Some(after) = self.begun_after else {
            assert!(self.heard.is_empty());
            return;
        };
        let expected = oracle.events.iter().filter(|(seq, about)| {
            let about = convo(*about);
            let is_wanted = self.filter.as_ref().is_none_or(|one| *one == about);
            let is_seen = *seq > after && *seq <= through && circle.sees(&about, Seq::new(*seq));
            let is_its_own = is_wanted && is_seen;
            is_its_own && (self.heard.contains(seq) || !self.is_excused(oracle, *seq, &about))
        });
        let expected: Vec<_> = expected.map(|(seq, _)| *seq).collect();
        let heard = self.heard.iter().filter(|seq| !oracle.is_undone(**seq));
        assert_eq!(heard.copied().collect::<Vec<_>>(), expected);
    }
}

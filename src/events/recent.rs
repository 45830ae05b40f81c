//! Pure. The last events of all conversations, shared, so that a phone that was
//! away for a moment is served without the database, and a node restart's worth
//! of phones are served from one reading of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::circle::Circle;
use super::event::Event;
use crate::types::{ConvoId, Did, Seq};
use crate::wire::Route;

/// All events of `(floor, head]` that still exist, indexed by conversation.
#[derive(Debug)]
pub(super) struct Recent {
    floor: Seq,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    bytes_max: usize,
    /// The places of each conversation's events, oldest first.
    by_convo: HashMap<ConvoId, VecDeque<Seq>>,
    /// The places of each account's own news.
    by_account: HashMap<Did, VecDeque<Seq>>,
}

/// What a session missed between its cursor and where its queue begins.
#[derive(Debug)]
pub enum Backlog {
    /// Here it is, whole.
    Here(Vec<Arc<Event>>),
    /// Read it from the database: it is too old, or too much.
    InDatabase,
}

impl Recent {
    pub(super) fn new(floor: Seq, bytes_max: usize) -> Self {
        Self {
            floor,
            events: VecDeque::new(),
            bytes: 0,
            bytes_max,
            by_convo: HashMap::new(),
            by_account: HashMap::new(),
        }
    }

    /// Remembers nothing up to here.
    pub(super) fn begin_anew(&mut self, floor: Seq) {
        *self = Self::new(floor, self.bytes_max);
    }

    /// Adds the stream's next event.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        let seq = event.seq();
        self.bytes += event.cost() + INDEX_COST;
        match event.route() {
            Route::Account(did) => note(&mut self.by_account, did, seq),
            Route::Convo(convo) | Route::Membership { convo, .. } => {
                note(&mut self.by_convo, convo, seq);
            }
        }
        self.events.push_back(event);
        while self.bytes > self.bytes_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(event) = self.events.pop_front() else {
            return;
        };
        self.floor = event.seq();
        self.bytes -= event.cost() + INDEX_COST;
        match event.route() {
            Route::Account(did) => drop_first(&mut self.by_account, did),
            Route::Convo(convo) | Route::Membership { convo, .. } => {
                drop_first(&mut self.by_convo, convo);
            }
        }
    }

    /// What a session missed: the events that `circle` may see, and its `owner`'s
    /// own news. Without a cursor it missed nothing.
    pub(super) fn backlog(
        &self,
        owner: Option<&Did>,
        circle: &Circle,
        after: Option<Seq>,
        count_max: usize,
    ) -> Backlog {
        match after {
            None => Backlog::Here(Vec::new()),
            Some(after) if after >= self.floor => self
                .missed(owner, circle, after, count_max)
                .map_or(Backlog::InDatabase, Backlog::Here),
            Some(_) => Backlog::InDatabase,
        }
    }

    /// In order; `None` if it is more than `count_max` events.
    fn missed(
        &self,
        owner: Option<&Did>,
        circle: &Circle,
        after: Seq,
        count_max: usize,
    ) -> Option<Vec<Arc<Event>>> {
        let mut seqs = Vec::new();
        for stay in circle.stays() {
            // Places of this membership: `joined` counts, and so does `left`.
            let from = after.next().max(stay.joined);
            let through = stay.left.unwrap_or(Seq::LAST);
            if let Some(places) = self.by_convo.get(&stay.convo) {
                let start = places.partition_point(|seq| *seq < from);
                seqs.extend(places.range(start..).take_while(|seq| **seq <= through));
            }
            if seqs.len() > count_max {
                return None;
            }
        }
        if let Some(places) = owner.and_then(|did| self.by_account.get(did)) {
            let start = places.partition_point(|seq| *seq <= after);
            seqs.extend(places.range(start..));
        }
        if seqs.len() > count_max {
            return None;
        }
        seqs.sort_unstable();
        Some(seqs.into_iter().filter_map(|seq| self.at(seq)).collect())
    }

    /// The event at a place. Holes make places and indices differ.
    fn at(&self, seq: Seq) -> Option<Arc<Event>> {
        let index = self.events.binary_search_by_key(&seq, |event| event.seq());
        self.events.get(index.ok()?).cloned()
    }
}

fn note<K>(map: &mut HashMap<K, VecDeque<Seq>>, key: &K, seq: Seq)
where
    K: Clone + Eq + std::hash::Hash,
{
    // Not `entry`, which wants a key of its own: most keys are known.
    if let Some(places) = map.get_mut(key) {
        places.push_back(seq);
    } else {
        map.insert(key.clone(), VecDeque::from([seq]));
    }
}

fn drop_first<K>(map: &mut HashMap<K, VecDeque<Seq>>, key: &K)
where
    K: Eq + std::hash::Hash,
{
    if let Some(places) = map.get_mut(key) {
        places.pop_front();
        if places.is_empty() {
            map.remove(key);
        }
    }
}

/// What an event's place in the index costs beside the event.
const INDEX_COST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Membership;

    fn event(seq: u64, convo: &str) -> Arc<Event> {
        let text = format!(r#"{{"cursor":"{seq}","convoId":"{convo}","messageId":"x"}}"#);
        Arc::new(Event::parse(&text).unwrap())
    }

    fn circle(of: &[(&str, u64, Option<u64>)]) -> Circle {
        let stays = of.iter().map(|(convo, joined, left)| Membership {
            convo: ConvoId::parse(convo).unwrap(),
            joined: Seq::new(*joined),
            left: left.map(Seq::new),
        });
        Circle::as_of(Seq::LAST, stays.collect())
    }

    #[test]
    fn what_was_missed_is_merged_in_order_within_the_memberships() {
        let bob = Did::parse("did:plc:bob").unwrap();
        let mut recent = Recent::new(Seq::new(10), 1_000_000);
        for seq in 11..20 {
            recent.push(event(seq, if seq % 2 == 0 { "aa" } else { "bb" }));
        }
        let circle = circle(&[("aa", 1, None), ("bb", 13, Some(15)), ("bb", 19, None)]);
        let missed = recent
            .missed(Some(&bob), &circle, Seq::new(12), 100)
            .unwrap();
        let seqs: Vec<_> = missed.iter().map(|event| event.seq().get()).collect();
        assert_eq!(seqs, [13, 14, 15, 16, 18, 19]);
        let is_here = |count_max| {
            let missed = recent.missed(Some(&bob), &circle, Seq::new(12), count_max);
            missed.is_some()
        };
        assert!(is_here(6) && !is_here(5));
    }

    #[test]
    fn the_oldest_are_forgotten_when_room_runs_out() {
        let room = 3 * (event(1, "aa").cost() + INDEX_COST);
        let mut recent = Recent::new(Seq::ZERO, room);
        for seq in 1..=5 {
            recent.push(event(seq, if seq == 1 { "bb" } else { "aa" }));
        }
        let circle = circle(&[("aa", 1, None)]);
        let backlog = |after| recent.backlog(None, &circle, Some(Seq::new(after)), 9);
        assert!(matches!(backlog(2), Backlog::Here(events) if events.len() == 3));
        assert!(matches!(backlog(1), Backlog::InDatabase));
        let places: Vec<_> = recent.by_convo.values().map(VecDeque::len).collect();
        assert_eq!(places, [3]);
    }
}

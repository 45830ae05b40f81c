//! Pure. The hub's state: where the node is in the stream, who sits here, and who
//! hears of what. One task owns it, so nothing in it is shared or locked but the
//! sessions' queues.
//!
//! # How a session goes live without a gap or a duplicate
//!
//! 1. It **registers** when the hub is at P0. From then on the hub notes for it
//!    every membership change of its account.
//! 2. It **reads** the account's memberships from the database. The reading is
//!    younger than P0, and since memberships keep the places where they began and
//!    ended, it tells the state at P0 exactly ([`super::Circle::as_of`]).
//! 3. It **attaches** with that reading when the hub is at P2. The changes noted
//!    since P0 bring the state to P2; the hub subscribes the session to what that
//!    is, opens its queue, and answers P2. Every event after P2 goes to the queue.
//! 4. It **replays** what it missed up to P2, from the hub's own recent events or
//!    from the database, while the queue fills.
//!
//! A **hole** may have moved its account: it begins anew, at the place that it has reached.
//!
//! An **overflow** only shuts the queue: the subscriptions go on following the
//! stream, so that a session comes back by asking for a new P2 and reading the
//! database up to there.

use std::collections::HashMap;
use std::sync::Arc;

use super::event::Event;
use super::outbox::{Due, Offer, Outbox};
use super::recent::{Backlog, Recent};
use super::seat::Seat;
use super::topics::{SeatId, Topics, give_back};
use crate::store::Membership;
use crate::types::{ConvoId, Cursor, Did, Seq};
use crate::wire::{Change, Route};

/// See the module.
#[derive(Debug)]
pub struct Board {
    head: Cursor,
    /// Boxed: a table has room for twice as many as are in it.
    seats: HashMap<SeatId, Box<Seat>>,
    by_account: HashMap<Arc<Did>, Vec<SeatId>>,
    topics: Topics,
    recent: Recent,
    seats_ever: u64,
    backlog_max: usize,
    tally: Tally,
}

/// The answer to a session that attached or came back after an overflow.
#[derive(Debug)]
pub struct Attached {
    /// Everything after this place comes through the queue.
    pub through: Cursor,
    /// It is about one conversation, into which its account was put here the last time: a going
    /// before is not its end.
    pub returned: Seq,
    /// That conversation is over for it.
    pub is_over: bool,
    pub backlog: Backlog,
}

/// What happened since the last look, for the metrics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) deliveries: u64,
    pub(super) overflows: u64,
}

impl Board {
    /// A hub that has followed the stream up to `head` and remembers nothing.
    pub fn new(head: Cursor, recent_bytes_max: usize, backlog_max: usize) -> Self {
        Self {
            head,
            seats: HashMap::new(),
            by_account: HashMap::new(),
            topics: Topics::default(),
            recent: Recent::new(head.seq(), recent_bytes_max),
            seats_ever: 0,
            backlog_max,
            tally: Tally::default(),
        }
    }

    /// The last event that was passed on.
    #[cfg(test)]
    pub(super) fn head(&self) -> Cursor {
        self.head
    }

    pub(super) fn topics_count(&self) -> usize {
        self.topics.count()
    }

    pub(super) fn tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// Step 1. The seat is nobody's if the session has gone meanwhile.
    pub fn register(&mut self, did: Did, filter: Option<ConvoId>, outbox: Arc<Outbox>) -> SeatId {
        // A sweep for its sake may have been before.
        if outbox.is_gone() {
            return SeatId::NOBODYS;
        }
        self.seats_ever += 1;
        let id = SeatId(self.seats_ever);
        let known = self.by_account.get_key_value(&did);
        let did = known.map_or_else(|| Arc::new(did), |(did, _)| Arc::clone(did));
        let seats = self.by_account.entry(Arc::clone(&did)).or_default();
        seats.push(id);
        let seat = Seat::new(id, (did, filter), outbox, self.head.seq());
        self.seats.insert(id, Box::new(seat));
        id
    }

    /// Step 3. `after` is the client's cursor, if it has one. `None`: this seat is
    /// not waiting to attach, or too much changed meanwhile; register again.
    pub fn attach(
        &mut self,
        id: SeatId,
        reading: Vec<Membership>,
        after: Option<Seq>,
    ) -> Option<Attached> {
        let seat = self.seats.get_mut(&id)?;
        let circle = seat.attach(reading, &mut self.topics)?;
        let (returned, is_over) = seat.stay(self.head.seq())?;
        let backlog_max = self.backlog_max;
        Some(Attached {
            through: self.head,
            returned,
            is_over,
            backlog: (self.recent).backlog(seat.owner(), &circle, after, backlog_max),
        })
    }

    /// A session that overflowed and has written all it took is ready to listen
    /// again: it must read the database up to the answer.
    pub(super) fn resume(&mut self, id: SeatId) -> Option<Attached> {
        let seat = self.seats.get(&id)?;
        let (returned, is_over) = seat.stay(self.head.seq())?;
        seat.outbox.open();
        Some(Attached {
            through: self.head,
            returned,
            is_over,
            backlog: Backlog::InDatabase,
        })
    }

    /// The session has ended.
    pub(super) fn leave(&mut self, id: SeatId) {
        let Some(seat) = self.seats.remove(&id) else {
            return;
        };
        if let Some(seats) = self.by_account.get_mut(&seat.did) {
            seats.retain(|other| *other != id);
            if seats.is_empty() {
                self.by_account.remove(&seat.did);
            }
        }
        seat.leave(&mut self.topics);
        give_back(&mut self.seats);
        give_back(&mut self.by_account);
    }

    /// Forgets the sessions whose goodbye did not get through.
    pub(super) fn sweep(&mut self) {
        let gone = self.seats.iter().filter(|(_, seat)| seat.outbox.is_gone());
        let gone: Vec<_> = gone.map(|(id, _)| *id).collect();
        for id in gone {
            self.leave(id);
        }
    }

    /// Whether this session may speak in a conversation.
    pub(super) fn is_member(&self, id: SeatId, convo: &ConvoId) -> Option<&Did> {
        let seat = self.seats.get(&id)?;
        let is_in = seat.convos()?.iter().any(|known| **known == *convo);
        is_in.then_some(&*seat.did)
    }

    /// The stream's next event. Whose queue to flush is added to `due`.
    pub fn pass_on(&mut self, event: &Arc<Event>, due: &mut Due) {
        match event.route() {
            Route::Account(did) => self.tell_account(did, event, due),
            Route::Convo(convo) => self.tell_convo(convo, event, due),
            Route::Membership { convo, did, change } => match change {
                // Whoever joins hears of it, and so does whoever leaves.
                Change::Joined => {
                    self.move_account(event.seq(), convo, did, Change::Joined);
                    self.tell_convo(convo, event, due);
                }
                Change::Left => {
                    self.tell_convo(convo, event, due);
                    self.move_account(event.seq(), convo, did, Change::Left);
                }
            },
        }
        self.head = event.cursor();
        self.recent.push(Arc::clone(event));
    }

    /// Something that is no part of the stream, for those who listen now.
    pub(super) fn mention(&mut self, event: &Arc<Event>, due: &mut Due) {
        if let Route::Convo(convo) = event.route() {
            self.tell_convo(convo, event, due);
        }
    }

    /// There is nothing more up to here.
    pub(super) fn reach(&mut self, through: Seq) {
        if through > self.head.seq() {
            self.head = self.head.with_seq(through);
        }
    }

    /// Events up to here are gone from the stream, or an event could not be read. It may have
    /// moved an account, so every session is to join anew, and to tell its client where things
    /// stand. What is remembered from before may lack it, or be what a failover undid.
    pub(super) fn hole(&mut self, through: Seq, due: &mut Due) {
        self.reach(through);
        self.recent.begin_anew(self.head.seq());
        for seat in self.seats.values() {
            seat.outbox.mark_hole(due);
        }
    }

    fn tell_account(&mut self, did: &Did, event: &Arc<Event>, due: &mut Due) {
        for id in self.by_account.get(did).into_iter().flatten() {
            if let Some(seat) = self.seats.get(id)
                && seat.filter.is_none()
            {
                count(&mut self.tally, seat.outbox.offer(event, due));
            }
        }
    }

    fn tell_convo(&mut self, convo: &ConvoId, event: &Arc<Event>, due: &mut Due) {
        for listener in self.topics.listeners(convo) {
            count(&mut self.tally, listener.outbox.offer(event, due));
        }
    }

    /// Moves all sessions of an account into a conversation or out of it.
    fn move_account(&mut self, at: Seq, convo: &ConvoId, did: &Did, change: Change) {
        for id in self.by_account.get(did).into_iter().flatten() {
            if let Some(seat) = self.seats.get_mut(id) {
                seat.change(at, convo, change, &mut self.topics);
            }
        }
    }
}

fn count(tally: &mut Tally, offer: Offer) {
    match offer {
        Offer::Queued => tally.deliveries += 1,
        Offer::Overflowed => tally.overflows += 1,
        Offer::Shut => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_crowd_that_has_left_nothing_is_kept_but_those_who_stay() {
        let mut board = Board::new(Cursor::parse("1").unwrap(), 0, 0);
        let mut stay = || {
            let accounts = (0..1_000).map(|number| Did::parse(&format!("did:plc:{number}")));
            let register = |did| board.register(did, None, Arc::new(Outbox::new(1)));
            accounts
                .map(Result::unwrap)
                .map(register)
                .collect::<Vec<_>>()
        };
        let [first, second] = [stay(), stay()];
        first.into_iter().for_each(|id| board.leave(id));
        let mut stayed: Vec<_> = board.by_account.values().flatten().copied().collect();
        stayed.sort();
        assert_eq!(stayed, second);
        second.into_iter().for_each(|id| board.leave(id));
        let rooms = [board.seats.capacity(), board.by_account.capacity()];
        assert_eq!(rooms, [0, 0]);
    }

    #[test]
    fn what_was_handed_on_and_what_overflowed_is_told_once() {
        let mut board = Board::new(Cursor::parse("1").unwrap(), 0, 0);
        let did = Did::parse("did:plc:abc").unwrap();
        let told = r#"{"cursor":"2","type":"keyPackages","did":"did:plc:abc"}"#;
        let told = Arc::new(Event::parse(told).unwrap());
        let outbox = Arc::new(Outbox::new(told.cost()));
        let id = board.register(did, None, outbox);
        board.attach(id, Vec::new(), None).unwrap();
        for _ in ["fits", "is too much", "finds it shut"] {
            board.pass_on(&told, &mut Due::new());
        }
        let tally = board.tally();
        assert_eq!((tally.deliveries, tally.overflows), (1, 1));
        assert_eq!(board.tally(), Tally::default());
    }

    #[test]
    fn whoever_is_moved_too_often_while_it_joins_does_not_attach() {
        let mut board = Board::new(Cursor::parse("1").unwrap(), 0, 0);
        let did = Did::parse("did:plc:abc").unwrap();
        let id = board.register(did, None, Arc::new(Outbox::new(1)));
        for seq in 2..2_000 {
            let action = ["joined", "removed"][seq % 2];
            let moved = format!(
                r#"{{"cursor":"{seq}","convoId":"ab","type":"membershipChange","did":"did:plc:abc","action":"{action}"}}"#
            );
            board.pass_on(&Arc::new(Event::parse(&moved).unwrap()), &mut Due::new());
        }
        assert!(board.attach(id, Vec::new(), None).is_none());
    }

    #[test]
    fn whoever_hangs_up_before_its_seat_is_there_leaves_none() {
        let mut board = Board::new(Cursor::parse("1").unwrap(), 0, 0);
        let outbox = Arc::new(Outbox::new(1));
        outbox.shut_for_good();
        let did = Did::parse("did:plc:abc").unwrap();
        board.register(did, None, Arc::clone(&outbox));
        assert_eq!(Arc::strong_count(&outbox), 1);
    }
}

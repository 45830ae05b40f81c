//! A phone, over all its connections.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::node::Node;
use super::table::Table;
use super::{OUTBOX_BYTES, PAGE, did};
use crate::events::board::Attached;
use crate::events::place::Place;
use crate::events::recent::Backlog;
use crate::events::topics::SeatId;
use crate::events::*;
use crate::store::Membership;
use crate::types::{ConvoId, Cursor, Seq};
use crate::wire::{Change, Route};

pub(super) struct Client {
    pub(super) account: usize,
    pub(super) filter: Option<ConvoId>,
    /// `None` until it knows any place: it wants what comes next.
    pub(super) cursor: Option<Cursor>,
    pub(super) begun_after: Option<Seq>,
    pub(super) history: Vec<u64>,
    /// It was told that events of these places may be lost.
    pub(super) gaps: Vec<(Seq, Seq)>,
    /// What it has heard of in passing.
    pub(super) overheard: Vec<Arc<Event>>,
    /// It came with this place, maybe from a node that was ahead.
    pub(super) came_with: Seq,
    /// When it attached, the last event, and where its account had returned.
    pub(super) read_at: Seq,
    pub(super) returned: Seq,
    pub(super) session: Option<Session>,
    /// What the hub wrote by itself.
    pub(super) wire: Wire,
    pub(super) lends: bool,
    /// It waits for the messages of its events.
    pub(super) hydrates: bool,
}

pub(super) type Wire = Arc<Mutex<Vec<Arc<Event>>>>;

/// The way to a client, which takes less than it is given at times.
struct Paper {
    wire: Wire,
    /// Of the write before.
    rest: Vec<Arc<Event>>,
}

impl Sink for Paper {
    fn write_now(&mut self, events: &[Arc<Event>]) -> Written {
        assert!(self.rest.is_empty(), "its owner has seen to it");
        let is_whole = !events[0].seq().get().is_multiple_of(5);
        let (now, rest) = events.split_at(if is_whole { events.len() } else { 0 });
        self.wire.lock().extend_from_slice(now);
        self.rest = rest.to_vec();
        Written { bytes: 0, is_whole }
    }
}

pub(super) struct Session {
    node: usize,
    seat: SeatId,
    outbox: Arc<Outbox>,
    step: Step,
}

enum Step {
    Registered,
    /// And what was the last event then.
    Read(Vec<Membership>, Seq),
    Replaying(Attached),
    Live,
    Hydrating(Vec<Arc<Event>>),
    /// The stream has lost something: it joins anew.
    Lost,
    Ended,
}

impl Client {
    pub(super) fn connect(&mut self, node: usize, nodes: &mut [Node], table: &Table) {
        let after = self.cursor.map(Cursor::seq);
        let is_let_in = table.has_news_for(self.account, self.filter.as_ref(), after);
        if self.session.is_none() && is_let_in {
            self.join(node, nodes);
        }
    }

    fn join(&mut self, node: usize, nodes: &mut [Node]) {
        let outbox = Arc::new(Outbox::new(OUTBOX_BYTES));
        let (did, filter) = (did(self.account), self.filter.clone());
        let seat = nodes[node].board.register(did, filter, Arc::clone(&outbox));
        self.came_with = self.cursor.map(Cursor::seq).unwrap_or_default();
        self.session = Some(Session {
            node,
            seat,
            outbox,
            step: Step::Registered,
        });
    }

    /// The connection breaks; whether the hub hears of it at once is chance.
    pub(super) fn drop_session(&mut self, nodes: &mut [Node], table: &Table, politely: bool) {
        if let Some(session) = self.session.take() {
            // It has come, whoever wrote it.
            self.hear_wire(table);
            session.outbox.shut_for_good();
            let board = &mut nodes[session.node].board;
            match politely {
                true => board.leave(session.seat),
                false => board.sweep(),
            }
        }
    }

    pub(super) fn is_at(&self, node: usize) -> bool {
        self.session
            .as_ref()
            .is_some_and(|session| session.node == node)
    }

    pub(super) fn step(&mut self, nodes: &mut [Node], table: &Table) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let node = &mut nodes[session.node];
        session.step = match session.step {
            Step::Registered => Step::Read(table.stays[self.account].clone(), Seq::new(table.last)),
            Step::Read(reading, last) => {
                let after = self.cursor.map(Cursor::seq);
                let attached = node.board.attach(session.seat, reading, after).unwrap();
                match session.outbox.has_hole() {
                    true => Step::Lost,
                    false => self.attached(attached, last, table),
                }
            }
            Step::Replaying(to) => {
                let (after, through) = (self.cursor.unwrap().seq(), to.through.seq());
                let mut page = table.seen(self.account, self.filter.as_ref(), after, through);
                let floor = Seq::new(table.floor);
                if floor > after {
                    self.gaps.push((after, floor));
                    page.retain(|event| event.seq() > floor);
                }
                let more = page.len() > PAGE;
                page.truncate(PAGE);
                let last = page.last().map(|event| event.seq());
                let is_spoilt = |event: &Arc<Event>| table.spoilt.contains(&event.seq());
                for spoilt in page.extract_if(.., |event| is_spoilt(event)) {
                    let before = Seq::new(spoilt.seq().get() - 1);
                    self.gaps.push((before, spoilt.seq()));
                }
                self.receive(&page, table);
                self.reach(self.cursor.unwrap().with_seq(last.unwrap_or(after)));
                match more {
                    true => Step::Replaying(to),
                    false => self.arrived(&to),
                }
            }
            Step::Live => match self.wake(&session, table).poll_take(&context(), 2) {
                Poll::Pending => {
                    if self.lends {
                        let (wire, rest) = (Arc::clone(&self.wire), Vec::new());
                        let paper = Box::new(Paper { wire, rest });
                        let place = Place::new(self.cursor.unwrap());
                        let lent = session.outbox.lend(paper, place, &context());
                        assert!(lent.is_ok(), "nothing has come since");
                    }
                    Step::Live
                }
                Poll::Ready(taken) if taken.hole => Step::Lost,
                Poll::Ready(taken) if self.hydrates && !taken.events.is_empty() => {
                    Step::Hydrating(taken.events)
                }
                Poll::Ready(taken) => {
                    let live = self.hear(taken.events, table);
                    match taken.overflowed {
                        Some(first) => {
                            let before = Seq::new(first.get() - 1);
                            self.reach(self.cursor.unwrap().with_seq(before));
                            Step::Replaying(node.board.resume(session.seat).unwrap())
                        }
                        None => live,
                    }
                }
            },
            Step::Hydrating(events) => self.hear(events, table),
            gone @ (Step::Lost | Step::Ended) => gone,
        };
        let is_lost = matches!(session.step, Step::Lost);
        let has_ended = matches!(session.step, Step::Ended);
        self.session = Some(session);
        if has_ended {
            self.drop_session(nodes, table, true);
        }
        if is_lost {
            self.join_anew(nodes, table);
        }
    }

    fn join_anew(&mut self, nodes: &mut [Node], table: &Table) {
        let node = self.session.as_ref().unwrap().node;
        self.drop_session(nodes, table, true);
        self.join(node, nodes);
    }

    /// It has read its stays when this was the last event.
    fn attached(&mut self, mut attached: Attached, last: Seq, table: &Table) -> Step {
        (self.read_at, self.returned) = (last, attached.returned);
        if attached.is_over {
            self.ends(attached.through.seq(), table);
        }
        let first = self.cursor.is_none();
        let begun = self.cursor.get_or_insert(attached.through);
        if first {
            self.begun_after = Some(begun.seq());
        }
        match std::mem::replace(&mut attached.backlog, Backlog::InDatabase) {
            Backlog::Here(events) => {
                self.receive(&events, table);
                self.arrived(&attached)
            }
            Backlog::InDatabase => Step::Replaying(attached),
        }
    }

    /// What comes live ends with its account's going, if it is about one conversation.
    fn hear(&mut self, mut events: Vec<Arc<Event>>, table: &Table) -> Step {
        let own = did(self.account);
        let is_end = |event: &Arc<Event>| {
            matches!(event.route(), Route::Membership { did, change: Change::Left, .. }
                if *did == own && event.seq() > self.came_with.max(self.returned))
        };
        let end = events.iter().position(is_end);
        let end = end.filter(|_| self.filter.is_some());
        if let Some(end) = end {
            self.ends(events[end].seq(), table);
        }
        events.truncate(end.map_or(events.len(), |end| end + 1));
        self.receive(&events, table);
        match end {
            Some(_) => Step::Ended,
            None => Step::Live,
        }
    }

    fn ends(&self, at: Seq, table: &Table) {
        let convo = self.filter.as_ref().unwrap();
        let mut since = (self.read_at.get()..=table.last).map(Seq::new);
        assert!(
            since.any(|since| !table.is_in(self.account, convo, since))
                || table.may_have_been_undone(at),
            "it is over for nobody who stays"
        );
    }

    fn arrived(&mut self, at: &Attached) -> Step {
        self.reach(at.through);
        match at.is_over {
            true => Step::Ended,
            false => Step::Live,
        }
    }

    /// Takes back what was lent.
    fn wake<'a>(&mut self, session: &'a Session, table: &Table) -> &'a Outbox {
        if let Poll::Ready(Some((sink, place))) = session.outbox.poll_return(&context()) {
            self.hear_wire(table);
            let paper = (sink as Box<dyn Any>).downcast::<Paper>().unwrap();
            self.receive(&paper.rest, table);
            assert_eq!(place.seq(), self.cursor.unwrap().seq());
        }
        &session.outbox
    }

    fn hear_wire(&mut self, table: &Table) {
        let written = std::mem::take(&mut *self.wire.lock());
        self.receive(&written, table);
    }

    fn receive(&mut self, events: &[Arc<Event>], table: &Table) {
        for event in events {
            if !event.is_stored() {
                self.overhear(event, table);
                continue;
            }
            let mut place = Place::new(self.cursor.unwrap());
            if place.advance(event.cursor()) {
                self.history.push(event.seq().get());
                self.cursor = Some(place.cursor());
            } else {
                assert!(event.seq() <= self.came_with, "nothing comes twice");
            }
        }
    }

    fn overhear(&mut self, event: &Arc<Event>, table: &Table) {
        let Route::Convo(convo) = event.route() else {
            panic!("it is for a conversation");
        };
        let at = table.mentioned_at(event);
        let mut since = (at.get()..=table.last).map(Seq::new);
        assert!(
            since.any(|at| table.is_in(self.account, convo, at))
                || table.has_left_unseen(self.account, convo)
                || table.may_have_been_undone(at),
            "whoever was removed hears nothing any more"
        );
        let mut known = self.overheard.iter();
        assert!(
            known.all(|known| !Arc::ptr_eq(known, event)),
            "nothing comes twice"
        );
        self.overheard.push(Arc::clone(event));
    }

    /// `#synced` moves the client's place as an event does.
    fn reach(&mut self, cursor: Cursor) {
        let mut place = Place::new(self.cursor.unwrap());
        let _ = place.advance(cursor);
        self.cursor = Some(place.cursor());
    }

    /// What must be so when all is quiet.
    pub(super) fn check(&self, table: &Table) {
        match (&self.session, &self.filter) {
            (Some(session), filter) => {
                assert!(matches!(session.step, Step::Live));
                assert!(session.outbox.poll_take(&context(), 9).is_pending());
                let last = Seq::new(table.last);
                let stays = |convo| table.is_in(self.account, convo, last);
                assert!(filter.as_ref().is_none_or(stays), "it is told of its end");
            }
            (None, filter) => assert!(filter.is_some(), "only one conversation is ever over"),
        }
        let Some(after) = self.begun_after else {
            assert!(self.history.is_empty());
            return;
        };
        let all = table.seen(self.account, self.filter.as_ref(), after, Seq::LAST);
        let is_excused = |at: Seq| self.gaps.iter().any(|(from, to)| *from < at && at <= *to);
        let seqs = all.iter().map(|event| event.seq());
        let expected = seqs.filter(|at| !is_excused(*at) || self.history.contains(&at.get()));
        let history = self.history.iter().copied().map(Seq::new);
        assert!(expected.eq(history.filter(|at| !table.is_undone(*at))));
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

//! A phone, over all its connections.

use std::any::Any;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::node::Node;
use super::table::Table;
use super::{OUTBOX_BYTES, PAGE, did};
use crate::events::*;
use crate::store::Membership;
use crate::types::{ConvoId, Cursor, Seq};

pub(super) struct Client {
    pub(super) account: usize,
    pub(super) filter: Option<ConvoId>,
    /// `None` until it knows any place: it wants what comes next.
    pub(super) cursor: Option<Cursor>,
    pub(super) begun_after: Option<Seq>,
    pub(super) history: Vec<u64>,
    pub(super) session: Option<Session>,
    /// What the hub wrote by itself.
    pub(super) wire: Wire,
    pub(super) lends: bool,
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
    seat: SeatId,
    outbox: Arc<Outbox>,
    step: Step,
}

pub(super) enum Step {
    Registered,
    Read(Vec<Membership>),
    Replaying { through: Cursor },
    Live,
}

impl Client {
    pub(super) fn connect(&mut self, node: &mut Node) {
        if self.session.is_some() {
            return;
        }
        let outbox = Arc::new(Outbox::new(OUTBOX_BYTES));
        let (did, filter) = (did(self.account), self.filter.clone());
        let seat = node.board.register(did, filter, Arc::clone(&outbox));
        let step = Step::Registered;
        self.session = Some(Session { seat, outbox, step });
    }

    /// The connection breaks; whether the hub hears of it at once is chance.
    pub(super) fn drop_session(&mut self, node: &mut Node, politely: bool) {
        if let Some(session) = self.session.take() {
            // It has come, whoever wrote it.
            self.hear_wire();
            session.outbox.shut_for_good();
            if politely {
                node.board.leave(session.seat);
            }
        }
    }

    pub(super) fn step(&mut self, node: &mut Node, table: &Table) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        session.step = match session.step {
            Step::Registered => Step::Read(table.stays[self.account].clone()),
            Step::Read(reading) => {
                let after = self.cursor.map(Cursor::seq);
                let attached = node.board.attach(session.seat, reading, after).unwrap();
                let first = self.cursor.is_none();
                let begun = self.cursor.get_or_insert(attached.through);
                if first {
                    self.begun_after = Some(begun.seq());
                }
                match attached.backlog {
                    Backlog::Here(events) => {
                        self.receive(&events);
                        self.reach(attached.through);
                        Step::Live
                    }
                    Backlog::InDatabase => Step::Replaying {
                        through: attached.through,
                    },
                }
            }
            Step::Replaying { through } => {
                let after = self.cursor.unwrap().seq();
                let mut page = table.seen(self.account, self.filter.as_ref(), after, through.seq());
                let more = page.len() > PAGE;
                page.truncate(PAGE);
                self.receive(&page);
                if more {
                    Step::Replaying { through }
                } else {
                    self.reach(through);
                    Step::Live
                }
            }
            Step::Live => match self.wake(&session).poll_take(&context(), 2) {
                Poll::Pending => {
                    if self.lends {
                        let (wire, rest) = (Arc::clone(&self.wire), Vec::new());
                        let place = Place::new(self.cursor.unwrap());
                        let lent =
                            session
                                .outbox
                                .lend(Box::new(Paper { wire, rest }), place, &context());
                        assert!(lent.is_ok(), "nothing has come since");
                    }
                    Step::Live
                }
                Poll::Ready(taken) => {
                    self.receive(&taken.events);
                    if taken.overflowed.is_some() {
                        let resumed = node.board.resume(session.seat).unwrap();
                        Step::Replaying {
                            through: resumed.through,
                        }
                    } else {
                        Step::Live
                    }
                }
            },
        };
        self.session = Some(session);
    }

    /// Takes back what was lent.
    fn wake<'a>(&mut self, session: &'a Session) -> &'a Outbox {
        if let Poll::Ready(Some((sink, place))) = session.outbox.poll_return(&context()) {
            self.hear_wire();
            let paper = (sink as Box<dyn Any>).downcast::<Paper>().unwrap();
            self.receive(&paper.rest);
            assert_eq!(place.seq(), self.cursor.unwrap().seq());
        }
        &session.outbox
    }

    fn hear_wire(&mut self) {
        let written = std::mem::take(&mut *self.wire.lock());
        self.receive(&written);
    }

    pub(super) fn receive(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let mut place = Place::new(self.cursor.unwrap());
            assert!(place.advance(event.cursor()), "nothing comes twice");
            self.history.push(event.seq().get());
            self.cursor = Some(place.cursor());
        }
    }

    /// `#synced` moves the client's place as an event does.
    pub(super) fn reach(&mut self, cursor: Cursor) {
        let mut place = Place::new(self.cursor.unwrap());
        let _ = place.advance(cursor);
        self.cursor = Some(place.cursor());
    }

    pub(super) fn is_at_rest(&self) -> bool {
        let Some(Session {
            step: Step::Live,
            outbox,
            ..
        }) = &self.session
        else {
            return false;
        };
        !matches!(
            outbox.poll_take(&context(), 0),
            Poll::Ready(taken) if taken.overflowed.is_some()
        )
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

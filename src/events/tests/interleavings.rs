//! The promise of this module, against an oracle: whatever happens in whatever
//! order, each subscriber's history is exactly the events of its memberships,
//! in order, once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use crate::events::sequence::{Announced, Read, Sequence};
use crate::events::*;
use crate::types::{ConvoId, Cursor, Did, Seq};
use crate::wire::Route;

const ACCOUNTS: usize = 3;
const CONVOS: usize = 3;
const CLIENTS: usize = 5;

#[derive(Clone, Debug)]
enum Op {
    /// Commits: a message, news for one account, a membership change, a number
    /// that no event will ever have.
    Send(usize),
    Tell(usize),
    Move(usize, usize),
    Skip,
    /// The node hears some notifications, loses one, looks at the table, dies.
    Hear(usize),
    Lose,
    Look,
    Restart,
    /// A client connects, goes one step on, loses its connection.
    Connect(usize),
    Step(usize),
    Drop(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..CONVOS).prop_map(Op::Send),
        1 => (0..ACCOUNTS).prop_map(Op::Tell),
        3 => (0..ACCOUNTS, 0..CONVOS).prop_map(|(account, convo)| Op::Move(account, convo)),
        1 => Just(Op::Skip),
        5 => (1..6usize).prop_map(Op::Hear),
        1 => Just(Op::Lose),
        1 => Just(Op::Look),
        1 => Just(Op::Restart),
        3 => (0..CLIENTS).prop_map(Op::Connect),
        14 => (0..CLIENTS).prop_map(Op::Step),
        2 => (0..CLIENTS).prop_map(Op::Drop),
    ]
}

/// What Postgres knows.
#[derive(Default)]
struct Table {
    last: u64,
    events: Vec<Arc<Event>>,
    /// Of each account.
    stays: [Vec<Interval>; ACCOUNTS],
}

impl Table {
    fn commit(&mut self, rest: &str) -> Arc<Event> {
        self.last += 1;
        let text = format!(r#"{{"cursor":"{}",{rest}}}"#, self.last);
        let event = Arc::new(Event::parse(&text).unwrap());
        self.events.push(Arc::clone(&event));
        event
    }

    fn move_account(&mut self, account: usize, convo: usize) -> Arc<Event> {
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
                stays.push(Interval {
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

    /// The events an account may see: the oracle, and what a replay reads.
    fn seen(
        &self,
        account: usize,
        filter: Option<&ConvoId>,
        after: Seq,
        through: Seq,
    ) -> Vec<Arc<Event>> {
        let circle = Circle::as_of(Seq::new(u64::MAX), self.stays[account].clone());
        let visible = |event: &&Arc<Event>| match event.route() {
            Route::Account(did) => filter.is_none() && *did == self::did(account),
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

/// One node: follower and hub.
struct Node {
    sequence: Sequence,
    board: Board,
    notified: VecDeque<Arc<Event>>,
}

impl Node {
    /// A fresh node remembers the last events that it reads from the table.
    fn start(table: &Table, remembered: u64) -> Self {
        let floor = Seq::new(table.last.saturating_sub(remembered));
        let mut board = Board::new(cursor(floor), RECENT_BYTES, BACKLOG);
        for event in table.events.iter().filter(|e| e.seq() > floor) {
            board.pass_on(event, &mut Vec::new());
        }
        board.hole(Seq::new(table.last), &mut Vec::new());
        Self {
            sequence: Sequence::starting_at(Seq::new(table.last)),
            board,
            notified: VecDeque::new(),
        }
    }

    fn hear(&mut self, table: &Table) {
        let Some(event) = self.notified.pop_front() else {
            return;
        };
        if let Announced::Missed { through, .. } = self.sequence.announced(event.seq()) {
            self.read(table, through);
            assert_eq!(self.sequence.announced(event.seq()), Announced::Next);
        } else if event.seq() <= self.board.head().seq() {
            return;
        }
        self.board.pass_on(&event, &mut Vec::new());
    }

    fn read(&mut self, table: &Table, through: Seq) {
        let after = self.sequence.head();
        let range = table
            .events
            .iter()
            .filter(|e| e.seq() > after && e.seq() <= through);
        for event in range {
            if let Read::AfterHole { .. } = self.sequence.read(event.seq()) {
                let before = Seq::new(event.seq().get() - 1);
                self.board.hole(before, &mut Vec::new());
            }
            self.board.pass_on(event, &mut Vec::new());
        }
        if self.sequence.exhausted(through) > 0 {
            self.board.hole(through, &mut Vec::new());
        }
    }
}

/// A phone, over all its connections.
struct Client {
    account: usize,
    filter: Option<ConvoId>,
    /// `None` until it knows any place: it wants what comes next.
    cursor: Option<Cursor>,
    begun_after: Option<Seq>,
    history: Vec<u64>,
    session: Option<Session>,
}

struct Session {
    seat: SeatId,
    outbox: Arc<Outbox>,
    step: Step,
}

enum Step {
    Registered,
    Read(Vec<Interval>),
    Replaying { through: Cursor },
    Live,
}

impl Client {
    fn connect(&mut self, node: &mut Node) {
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
    fn drop_session(&mut self, node: &mut Node, politely: bool) {
        if let Some(session) = self.session.take() {
            session.outbox.shut_for_good();
            if politely {
                node.board.leave(session.seat);
            }
        }
    }

    fn step(&mut self, node: &mut Node, table: &Table) {
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
            Step::Live => match session
                .outbox
                .poll_take(&Context::from_waker(Waker::noop()), 2)
            {
                Poll::Pending => Step::Live,
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

    fn receive(&mut self, events: &[Arc<Event>]) {
        for event in events {
            let mut place = Place::new(self.cursor.unwrap());
            assert!(place.advance(event.cursor()), "nothing comes twice");
            self.history.push(event.seq().get());
            self.cursor = Some(place.cursor());
        }
    }

    /// `#synced` moves the client's place as an event does.
    fn reach(&mut self, cursor: Cursor) {
        let mut place = Place::new(self.cursor.unwrap());
        let _ = place.advance(cursor);
        self.cursor = Some(place.cursor());
    }

    fn is_at_rest(&self) -> bool {
        let Some(Session {
            step: Step::Live,
            outbox,
            ..
        }) = &self.session
        else {
            return false;
        };
        !matches!(
            outbox.poll_take(&Context::from_waker(Waker::noop()), 0),
            Poll::Ready(taken) if taken.overflowed.is_some()
        )
    }
}

fn did(account: usize) -> Did {
    Did::parse(&format!("did:plc:{account}")).unwrap()
}

fn convo_id(convo: usize) -> ConvoId {
    ConvoId::parse(&format!("a{convo}")).unwrap()
}

fn cursor(seq: Seq) -> Cursor {
    Cursor::parse(&seq.get().to_string()).unwrap()
}

/// Small, so that everything overflows all the time.
const OUTBOX_BYTES: usize = 1_800;
const RECENT_BYTES: usize = 4_000;
const BACKLOG: usize = 4;
const PAGE: usize = 3;

fn apply(op: &Op, table: &mut Table, node: &mut Node, clients: &mut [Client]) {
    let committed = match op {
        Op::Send(convo) => {
            let convo = convo_id(*convo);
            Some(table.commit(&format!(
                r#""convoId":"{}","messageId":"x""#,
                convo.expose()
            )))
        }
        Op::Tell(account) => {
            let did = did(*account);
            Some(table.commit(&format!(r#""type":"keyPackages","did":"{}""#, did.expose())))
        }
        Op::Move(account, convo) => Some(table.move_account(*account, *convo)),
        Op::Skip => {
            table.last += 1;
            None
        }
        _ => None,
    };
    node.notified.extend(committed);
    match op {
        Op::Hear(count) => (0..*count).for_each(|_| node.hear(table)),
        Op::Lose => drop(node.notified.pop_front()),
        Op::Look => node.read(table, Seq::new(table.last)),
        Op::Restart => {
            for client in clients.iter_mut() {
                client.drop_session(node, false);
            }
            *node = Node::start(table, 5);
        }
        Op::Connect(client) => clients[*client].connect(node),
        Op::Step(client) => clients[*client].step(node, table),
        Op::Drop(client) => {
            let politely = table.last.is_multiple_of(2);
            clients[*client].drop_session(node, politely);
            if !politely {
                node.board.sweep();
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_history_is_exactly_the_events_of_its_memberships(
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut table = Table::default();
        let mut node = Node::start(&table, 5);
        let mut clients: Vec<_> = (0..CLIENTS).map(|index| Client {
            account: index % ACCOUNTS,
            filter: (index == 1).then(|| convo_id(0)),
            cursor: (index % 2 == 0).then(|| cursor(Seq::ZERO)),
            begun_after: (index % 2 == 0).then_some(Seq::ZERO),
            history: Vec::new(),
            session: None,
        }).collect();
        for op in &ops {
            apply(op, &mut table, &mut node, &mut clients);
        }
        // Everything settles.
        node.read(&table, Seq::new(table.last));
        for client in &mut clients {
            client.connect(&mut node);
            for _ in 0..1_000 {
                client.step(&mut node, &table);
            }
            prop_assert!(client.is_at_rest());
            let after = client.begun_after.unwrap();
            let through = Seq::new(table.last);
            let seen = table.seen(client.account, client.filter.as_ref(), after, through);
            let expected: Vec<_> = seen.iter().map(|event| event.seq().get()).collect();
            prop_assert_eq!(&client.history, &expected);
        }
    }
}

//! The promise of this module, against an oracle: whatever happens in whatever
//! order, on whichever node, each subscriber's history is exactly the events of its
//! memberships, in order, once.

mod client;
mod node;
mod table;

use std::sync::Arc;

use client::{Client, Wire};
use node::Node;
use proptest::prelude::*;
use table::Table;

use crate::events::Event;
use crate::types::{ConvoId, Cursor, Did, Seq};

const ACCOUNTS: usize = 3;
const CONVOS: usize = 3;
const CLIENTS: usize = 6;
const NODES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// Commits: a message, news for one account, a membership change, one whose event is lost,
    /// a number that no event will ever have.
    Send(usize),
    Tell(usize),
    Move(usize, usize),
    MoveUnseen(usize, usize),
    Skip,
    /// One of the last events can no longer be read.
    Spoil(usize),
    /// The oldest events are forgotten.
    Forget,
    /// A standby takes over that lacks so many of the last events.
    FailOver(usize),
    /// Something is said in passing.
    Mention(usize),
    /// A node hears some notifications, writes to those who sleep, loses a notification, looks
    /// at the table, dies.
    Hear(usize, usize),
    Flush(usize),
    Lose(usize),
    Look(usize),
    Restart(usize),
    /// A client connects, goes one step on, loses its connection.
    Connect(usize, usize),
    Step(usize),
    Drop(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..CONVOS).prop_map(Op::Send),
        1 => (0..ACCOUNTS).prop_map(Op::Tell),
        3 => (0..ACCOUNTS, 0..CONVOS).prop_map(|(account, convo)| Op::Move(account, convo)),
        1 => (0..ACCOUNTS, 0..CONVOS).prop_map(|(account, convo)| Op::MoveUnseen(account, convo)),
        1 => Just(Op::Skip),
        1 => (0..5usize).prop_map(Op::Spoil),
        1 => Just(Op::Forget),
        1 => (0..5usize).prop_map(Op::FailOver),
        2 => (0..CONVOS).prop_map(Op::Mention),
        6 => (0..NODES, 1..6usize).prop_map(|(node, count)| Op::Hear(node, count)),
        5 => (0..NODES).prop_map(Op::Flush),
        1 => (0..NODES).prop_map(Op::Lose),
        1 => (0..NODES).prop_map(Op::Look),
        1 => (0..NODES).prop_map(Op::Restart),
        4 => (0..CLIENTS, 0..NODES).prop_map(|(client, node)| Op::Connect(client, node)),
        14 => (0..CLIENTS).prop_map(Op::Step),
        2 => (0..CLIENTS).prop_map(Op::Drop),
    ]
}

/// Small, so that everything overflows all the time.
const OUTBOX_BYTES: usize = 1_800;
const RECENT_BYTES: usize = 4_000;
const BACKLOG: usize = 4;
const PAGE: usize = 3;

struct World {
    table: Table,
    nodes: [Node; NODES],
    clients: Vec<Client>,
}

impl World {
    fn new() -> Self {
        let table = Table::default();
        let nodes = [0; NODES].map(|_| Node::start(&table, 5));
        // Each account from the beginning and from now on, some of one conversation, some with
        // messages.
        let clients = (0..CLIENTS).map(|index| Client {
            account: index % ACCOUNTS,
            filter: [1, 2].contains(&index).then(|| convo_id(0)),
            cursor: index.is_multiple_of(2).then(|| cursor(Seq::ZERO)),
            begun_after: index.is_multiple_of(2).then_some(Seq::ZERO),
            history: Vec::new(),
            gaps: Vec::new(),
            overheard: Vec::new(),
            came_with: Seq::ZERO,
            read_at: Seq::ZERO,
            returned: Seq::ZERO,
            wire: Wire::default(),
            lends: [0, 3].contains(&index),
            hydrates: [2, 4].contains(&index),
            session: None,
        });
        Self {
            clients: clients.collect(),
            table,
            nodes,
        }
    }

    /// What Postgres tells of it.
    fn commit(&mut self, op: &Op) -> Option<Arc<Event>> {
        let table = &mut self.table;
        match op {
            Op::Send(convo) => {
                let convo = convo_id(*convo);
                let convo = convo.expose();
                Some(table.commit(&format!(r#""convoId":"{convo}","messageId":"x""#)))
            }
            Op::Tell(account) => {
                let did = did(*account);
                let did = did.expose();
                Some(table.commit(&format!(r#""type":"keyPackages","did":"{did}""#)))
            }
            Op::Move(account, convo) => Some(table.move_account(*account, *convo)),
            Op::MoveUnseen(account, convo) => {
                let lost = table.move_account(*account, *convo);
                table.events.pop();
                table.unseen.push(lost.seq());
                None
            }
            Op::Mention(convo) => Some(table.mention(*convo)),
            Op::Skip => {
                table.last += 1;
                None
            }
            Op::Spoil(nth) => {
                let spoilt = table.events.iter().nth_back(*nth);
                table.spoilt.extend(spoilt.map(|event| event.seq()));
                None
            }
            Op::FailOver(but) => {
                table.fail_over(*but);
                self.nodes.iter_mut().for_each(Node::cut);
                None
            }
            Op::Forget => {
                // Long after all nodes have heard of them.
                let heads = self.nodes.iter().map(|node| node.sequence.head().get());
                table.floor = heads.min().unwrap_or_default().max(table.floor);
                None
            }
            _ => None,
        }
    }

    fn apply(&mut self, op: &Op) {
        if let Some(notified) = self.commit(op) {
            for node in &mut self.nodes {
                node.notified.push_back(Arc::clone(&notified));
            }
        }
        let (table, nodes) = (&self.table, &mut self.nodes);
        match *op {
            Op::Hear(node, count) => (0..count).for_each(|_| nodes[node].hear(table)),
            Op::Flush(node) => nodes[node].flush(),
            Op::Lose(node) => nodes[node].lose(),
            Op::Look(node) => nodes[node].look(table),
            Op::Restart(node) => {
                for client in &mut self.clients {
                    if client.is_at(node) {
                        client.drop_session(nodes, table, false);
                    }
                }
                nodes[node] = Node::start(table, 5);
            }
            Op::Connect(client, node) => {
                self.clients[client].connect(node, nodes, table);
            }
            Op::Step(client) => self.clients[client].step(nodes, table),
            Op::Drop(client) => {
                let politely = table.last.is_multiple_of(2);
                self.clients[client].drop_session(nodes, table, politely);
            }
            _ => {}
        }
    }

    /// Everybody comes and hears the rest.
    fn settle(&mut self) {
        let (table, nodes) = (&self.table, &mut self.nodes);
        for node in nodes.iter_mut() {
            node.look(table);
            node.flush();
        }
        for client in &mut self.clients {
            for _ in 0..1_000 {
                client.connect(0, nodes, table);
                client.step(nodes, table);
            }
            client.check(table);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_history_is_exactly_the_events_of_its_memberships(
        ops in prop::collection::vec(op(), 1..250),
    ) {
        play(&ops);
    }
}

#[test]
fn what_comes_after_a_change_that_is_lost_while_somebody_joins_is_not_passed_by() {
    let (joins, comes_back) = (Op::Connect(5, 1), Op::Connect(5, 0));
    let mut ops = vec![Op::Send(0), Op::MoveUnseen(2, 2), joins, Op::Send(0)];
    ops.extend([Op::Hear(1, 5), Op::Step(5), Op::Step(5), Op::Restart(1)]);
    ops.extend([comes_back, Op::Send(2)]);
    play(&ops);
}

fn play(ops: &[Op]) {
    let mut world = World::new();
    for op in ops {
        world.apply(op);
    }
    world.settle();
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

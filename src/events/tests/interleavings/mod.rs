//! The promise of this module, against an oracle: whatever happens in whatever
//! order, each subscriber's history is exactly the events of its memberships,
//! in order, once.

mod client;
mod node;
mod table;

use client::{Client, Wire};
use node::Node;
use proptest::prelude::*;
use table::Table;

use crate::types::{ConvoId, Cursor, Did, Seq};

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
    /// The node hears some notifications, writes to those who sleep, loses a notification, looks
    /// at the table, dies.
    Hear(usize),
    Flush,
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
        4 => Just(Op::Flush),
        1 => Just(Op::Lose),
        1 => Just(Op::Look),
        1 => Just(Op::Restart),
        3 => (0..CLIENTS).prop_map(Op::Connect),
        14 => (0..CLIENTS).prop_map(Op::Step),
        2 => (0..CLIENTS).prop_map(Op::Drop),
    ]
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
        Op::Flush => node.flush(),
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
            wire: Wire::default(),
            lends: index != 1 && index != 4,
            session: None,
        }).collect();
        for op in &ops {
            apply(op, &mut table, &mut node, &mut clients);
        }
        // Everything settles.
        node.read(&table, Seq::new(table.last));
        node.flush();
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

fn did(account: usize) -> Did {
    Did::parse(&format!("did:plc:{account}")).unwrap()
}

fn convo_id(convo: usize) -> ConvoId {
    ConvoId::parse(&format!("a{convo}")).unwrap()
}

fn cursor(seq: Seq) -> Cursor {
    Cursor::parse(&seq.get().to_string()).unwrap()
}

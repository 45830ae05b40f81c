//! Phones come and go on two nodes, over the whole event path, while whatever can go wrong
//! does: each hears exactly the events of its memberships, once and in order, and is told of
//! what may be lost to it.

mod oracle;
mod phone;

use std::time::Duration;

use oracle::Oracle;
use phone::Phone;
use proptest::prelude::*;
use tokio::time::sleep;

use super::memory::{Memory, Messages, World};
use crate::events::*;
use crate::runtime::Shutdown;
use crate::store::Membership;
use crate::types::{ConvoId, Did, Seq};

const ACCOUNTS: [&str; 2] = ["did:plc:alice", "did:plc:bob"];
const CONVOS: [&str; 3] = ["aa", "bb", "cc"];
const PHONES: usize = 6;
const NODES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// Commits: some messages, a membership change, one whose event is lost, numbers that no event
    /// will ever have.
    Send(usize, usize),
    Move(usize, usize),
    MoveUnseen(usize, usize),
    Skip,
    /// One of the last events can no longer be read.
    Spoil(usize),
    /// The oldest events are forgotten, all but so many.
    Forget(u64),
    /// A standby takes over that lacks so many of the last events.
    FailOver(usize),
    /// A node dies, and another takes its place.
    Restart(usize),
    /// The database and the ways to it.
    Set(World),
    SetMessages(Messages),
    Cut,
    LoseListeners,
    Wait(u64),
    /// A phone connects, hears something, loses its connection.
    Connect(usize, usize),
    Hear(usize),
    Drop(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let worlds = [
        World::Well,
        World::Well,
        World::Away,
        World::Deaf,
        World::DeafToEvents,
        World::Unreadable,
    ];
    let messages = [
        Messages::Held,
        Messages::Expired,
        Messages::Unreadable,
        Messages::Stuck,
    ];
    prop_oneof![
        8 => (0..CONVOS.len(), 1..20usize).prop_map(|(convo, count)| Op::Send(convo, count)),
        4 => (0..ACCOUNTS.len(), 0..CONVOS.len())
            .prop_map(|(account, convo)| Op::Move(account, convo)),
        1 => (0..ACCOUNTS.len(), 0..CONVOS.len())
            .prop_map(|(account, convo)| Op::MoveUnseen(account, convo)),
        1 => Just(Op::Skip),
        1 => (0..10usize).prop_map(Op::Spoil),
        1 => (0..30u64).prop_map(Op::Forget),
        1 => (0..10usize).prop_map(Op::FailOver),
        1 => (0..NODES).prop_map(Op::Restart),
        3 => prop::sample::select(worlds.to_vec()).prop_map(Op::Set),
        1 => prop::sample::select(messages.to_vec()).prop_map(Op::SetMessages),
        1 => Just(Op::Cut),
        1 => Just(Op::LoseListeners),
        6 => prop_oneof![Just(1), Just(40), Just(700), Just(6_000)].prop_map(Op::Wait),
        4 => (0..PHONES, 0..NODES).prop_map(|(phone, node)| Op::Connect(phone, node)),
        12 => (0..PHONES).prop_map(Op::Hear),
        2 => (0..PHONES).prop_map(Op::Drop),
    ]
}

/// Small, so that everything overflows all the time. The second node looks seldom at the table.
fn settings(node: usize) -> Settings {
    Settings {
        outbox_bytes_max: 4_000,
        recent_bytes_max: 8_000,
        recent_at_start: 5,
        backlog_max: 6,
        page_max: 4,
        replay_rows_max: 16,
        ring_max: 4,
        reconcile_every: Duration::from_secs([5, 60][node]),
        ..Settings::default()
    }
}

struct Play {
    memory: Memory,
    nodes: Vec<(Hub, Shutdown)>,
    oracle: Oracle,
    phones: Vec<Phone>,
}

impl Play {
    fn new() -> Self {
        let memory = Memory::default();
        Self {
            nodes: (0..NODES).map(|node| memory.hub(settings(node))).collect(),
            memory,
            oracle: Oracle::default(),
            phones: (0..PHONES).map(Phone::new).collect(),
        }
    }

    async fn apply(&mut self, op: &Op) {
        match *op {
            Op::Send(about, count) => {
                for _ in 0..count {
                    let seq = self.memory.send_message(CONVOS[about]);
                    self.committed(seq, about);
                }
            }
            Op::Move(account, about) => self.change(account, about, true),
            Op::MoveUnseen(account, about) => self.change(account, about, false),
            Op::Skip => {
                self.memory.skip(3);
                self.oracle.last += 3;
            }
            Op::Spoil(nth) => {
                if let Some((seq, _)) = self.oracle.events.iter().nth_back(nth) {
                    self.memory.spoil(*seq);
                    self.oracle.spoilt.insert(*seq);
                }
            }
            Op::FailOver(but) => {
                let (last, leap) = self.oracle.fail_over(but);
                self.memory.fail_over(last, leap);
            }
            Op::Restart(node) => {
                let phones = self.phones.iter_mut();
                let here =
                    phones.filter(|phone| phone.subscription.is_some() && phone.node == node);
                here.for_each(Phone::hang_up);
                self.nodes[node].1.drain(Duration::ZERO).await;
                self.nodes[node] = self.memory.hub(settings(node));
            }
            Op::Forget(but) => {
                let floor = self.oracle.last.saturating_sub(but);
                self.oracle.floor = floor.max(self.oracle.floor);
                self.memory.forget(self.oracle.floor);
            }
            Op::Set(world) => self.memory.set(world),
            Op::SetMessages(messages) => self.memory.set_messages(messages),
            Op::Cut => self.memory.cut(),
            Op::LoseListeners => self.memory.lose_listeners(),
            Op::Wait(millis) => sleep(Duration::from_millis(millis)).await,
            Op::Connect(phone, node) => {
                self.phones[phone].connect(node, &self.nodes[node].0, &self.oracle);
            }
            Op::Hear(phone) => {
                let phone = &mut self.phones[phone];
                let _ = phone.hear(Duration::from_millis(30), &self.oracle).await;
            }
            Op::Drop(phone) => self.phones[phone].hang_up(),
        }
    }

    fn change(&mut self, account: usize, about: usize, is_seen: bool) {
        let (name, convo, who) = (CONVOS[about], convo(about), ACCOUNTS[account]);
        let stays = self.oracle.stays.entry(account).or_default();
        let open = |stay: &&mut Membership| stay.convo == convo && stay.left.is_none();
        let seq = match stays.iter_mut().find(open) {
            Some(open) => {
                let seq = match is_seen {
                    true => self.memory.remove(who, name),
                    false => self.memory.remove_unseen(who, name),
                };
                open.left = Some(Seq::new(seq));
                seq
            }
            None => {
                let seq = match is_seen {
                    true => self.memory.join(who, name),
                    false => self.memory.join_unseen(who, name),
                };
                let joined = Seq::new(seq);
                let left = None;
                stays.push(Membership {
                    convo,
                    joined,
                    left,
                });
                seq
            }
        };
        match is_seen {
            true => self.committed(seq, about),
            false => self.oracle.last = seq,
        }
    }

    fn committed(&mut self, seq: u64, about: usize) {
        self.oracle.last = seq;
        self.oracle.events.push((seq, about));
    }

    /// All is well again, and everybody comes and hears the rest.
    async fn settle(&mut self) {
        self.memory.set(World::Well);
        self.memory.set_messages(Messages::Held);
        sleep(Duration::from_secs(90)).await;
        for phone in &mut self.phones {
            for _ in 0..20 {
                phone.connect(0, &self.nodes[0].0, &self.oracle);
                while phone.hear(Duration::from_secs(90), &self.oracle).await {}
            }
            phone.check(&self.oracle, u64::MAX);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn whatever_goes_wrong_each_phone_hears_all_that_is_its_own(
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut play = Play::new();
            for op in &ops {
                play.apply(op).await;
            }
            play.settle().await;
        });
    }
}

fn did(account: usize) -> Did {
    Did::parse(ACCOUNTS[account]).unwrap()
}

fn convo(index: usize) -> ConvoId {
    ConvoId::parse(CONVOS[index]).unwrap()
}

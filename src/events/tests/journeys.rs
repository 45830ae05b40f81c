//! Phones come and go on two nodes, over the whole event path, while whatever can go wrong
//! does: each hears exactly the events of its memberships, once and in order, and is told of
//! what may be lost to it.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use super::memory::{Memory, Messages, World};
use crate::events::*;
use crate::runtime::Shutdown;
use crate::store::Membership;
use crate::types::{CoarseTime, ConvoId, Cursor, Did, Seq};
use crate::wire::Standings;

const ACCOUNTS: [&str; 2] = ["did:plc:alice", "did:plc:bob"];
const CONVOS: [&str; 3] = ["aa", "bb", "cc"];
const PHONES: usize = 6;
const NODES: usize = 2;

#[derive(Clone, Debug)]
enum Op {
    /// Commits: some messages, a membership change, numbers that no event will ever have.
    Send(usize, usize),
    Move(usize, usize),
    Skip,
    /// The oldest events are forgotten, all but so many.
    Forget(u64),
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
        1 => Just(Op::Skip),
        1 => (0..30u64).prop_map(Op::Forget),
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

/// What the test itself has done.
#[derive(Default)]
struct Oracle {
    last: u64,
    floor: u64,
    /// Of each event, what it is about.
    events: Vec<(u64, usize)>,
    stays: HashMap<usize, Vec<Membership>>,
}

impl Oracle {
    fn circle(&self, account: usize) -> Circle {
        let stays = self.stays.get(&account).cloned();
        Circle::as_of(Seq::LAST, stays.unwrap_or_default())
    }

    /// Whether an account was in a conversation at every moment since this event.
    fn has_stayed(&self, account: usize, convo: &ConvoId, since: u64) -> bool {
        self.circle(account)
            .stays()
            .iter()
            .any(|stay| stay.convo == *convo && stay.joined.get() <= since && stay.left.is_none())
    }
}

struct Phone {
    account: usize,
    filter: Option<ConvoId>,
    hydrate: bool,
    cursor: Option<Cursor>,
    begun_after: Option<u64>,
    heard: Vec<u64>,
    /// Up to here it knows where everything stands, whatever it has heard.
    knows_through: u64,
    /// What was the last event when it came.
    came_at: u64,
    subscription: Option<Subscription>,
}

impl Phone {
    fn new(index: usize) -> Self {
        let from_the_start = !index.is_multiple_of(3);
        let beginning = Cursor::new(CoarseTime::from_unix_seconds(0), Seq::ZERO);
        Self {
            account: index % ACCOUNTS.len(),
            filter: (index >= 4).then(|| convo(0)),
            hydrate: [2, 5].contains(&index),
            cursor: from_the_start.then_some(beginning),
            begun_after: from_the_start.then_some(0),
            heard: Vec::new(),
            knows_through: 0,
            came_at: 0,
            subscription: None,
        }
    }

    fn connect(&mut self, hub: &Hub, oracle: &Oracle) {
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
            self.subscription = Some(hub.subscribe(subscriber, self.cursor));
        }
    }

    /// What comes within this time, one after the other. False: nothing more.
    async fn hear(&mut self, patience: Duration, oracle: &Oracle) -> bool {
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
            Ok(News::Outdated) => self.knows_through = oracle.floor,
            Ok(News::Gap(standings)) => {
                self.reach(&standings);
                self.knows_through = self.knows_through.max(oracle.floor);
            }
            Ok(News::Synced(standings)) => self.reach(&standings),
            Ok(News::Ended) => {
                let convo = self.filter.as_ref().expect("it is about one conversation");
                let has_stayed = oracle.has_stayed(self.account, convo, self.came_at);
                assert!(!has_stayed, "it is over for nobody who stays");
                // What it may have lost before is of no use to it any more.
                self.knows_through = self.knows_through.max(oracle.floor);
                self.subscription = None;
            }
            Err(SubscriptionError::FutureCursor) => panic!("all cursors were given out"),
            // It comes again.
            Err(_) => self.subscription = None,
        }
        true
    }

    fn reach(&mut self, standings: &Standings) {
        let at = standings.seq.get();
        assert!(self.cursor.is_none_or(|cursor| cursor.seq().get() <= at));
        self.cursor = Some(standings.cursor);
        self.begun_after.get_or_insert(at);
        self.knows_through = self.knows_through.max(at);
    }

    fn take(&mut self, event: &Event) {
        let seq = event.seq();
        let before = self.cursor.map_or(Seq::ZERO, Cursor::seq);
        assert!(seq > before, "in order, and once");
        self.begun_after.get_or_insert(seq.get() - 1);
        self.cursor = Some(event.cursor());
        self.heard.push(seq.get());
    }

    fn check(&self, oracle: &Oracle) {
        let circle = oracle.circle(self.account);
        let Some(after) = self.begun_after else {
            assert!(self.heard.is_empty());
            return;
        };
        let is_excused = |seq: u64| seq <= oracle.floor && seq <= self.knows_through;
        let expected = oracle.events.iter().filter(|(seq, about)| {
            let about = convo(*about);
            let is_wanted = self.filter.as_ref().is_none_or(|one| *one == about);
            *seq > after && is_wanted && circle.sees(&about, Seq::new(*seq))
        });
        let expected = expected.map(|(seq, _)| *seq);
        let expected: Vec<_> = expected
            .filter(|seq| !is_excused(*seq) || self.heard.contains(seq))
            .collect();
        assert_eq!(self.heard, expected);
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
            Op::Move(account, about) => self.change(account, about),
            Op::Skip => {
                self.memory.skip(3);
                self.oracle.last += 3;
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
                self.phones[phone].connect(&self.nodes[node].0, &self.oracle);
            }
            Op::Hear(phone) => {
                let phone = &mut self.phones[phone];
                let _ = phone.hear(Duration::from_millis(30), &self.oracle).await;
            }
            Op::Drop(phone) => self.phones[phone].subscription = None,
        }
    }

    fn change(&mut self, account: usize, about: usize) {
        let (name, convo) = (CONVOS[about], convo(about));
        let stays = self.oracle.stays.entry(account).or_default();
        let open = |stay: &&mut Membership| stay.convo == convo && stay.left.is_none();
        let seq = match stays.iter_mut().find(open) {
            Some(open) => {
                let seq = self.memory.remove(ACCOUNTS[account], name);
                open.left = Some(Seq::new(seq));
                seq
            }
            None => {
                let seq = self.memory.join(ACCOUNTS[account], name);
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
        self.committed(seq, about);
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
                phone.connect(&self.nodes[0].0, &self.oracle);
                while phone.hear(Duration::from_secs(90), &self.oracle).await {}
            }
            phone.check(&self.oracle);
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

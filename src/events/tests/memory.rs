//! A log in memory, with a bell that can be muted and a door that can be shut.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::events::{Answer, Bell, Event, Hub, Journal, Settings, Stored, Subscriber, circle};
use crate::runtime::{Live, Shutdown};
use crate::store::{
    Announced, Ends, Membership, MessageKind, Notification, Run, StoreError, StoredMessage, Topic,
};
use crate::types::{CoarseTime, ConvoId, Did, Epoch, MessageId, Seq};
use crate::wire::{Passing, Route, Standing};

/// What time it always is.
pub(crate) fn now() -> CoarseTime {
    CoarseTime::from_unix_seconds(1_800_000_000)
}

/// Where numbers go on when a standby takes over: about the microseconds since 1970.
pub(crate) const LEAP: u64 = 1_800_000_000_000_000;

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    last: u64,
    floor: u64,
    rows: Vec<Stored>,
    stays: HashMap<Did, Vec<Membership>>,
    bells: Vec<mpsc::Sender<Notification>>,
    /// They stand, and nothing comes on them.
    lost_bells: Vec<mpsc::Sender<Notification>>,
    messages: Messages,
    messages_read: usize,
    rows_read: usize,
    world: World,
    /// How long the answers take to where an account is, and where the stream begins and ends.
    answers_take: Duration,
}

/// A muted bell, a shut door and so on, until the world changes again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum World {
    /// The database cannot be reached, and the connections that listen break.
    Away,
    /// No notification arrives.
    Deaf,
    /// None of an event does.
    DeafToEvents,
    /// It can be asked, and does not answer.
    Silent,
    /// The table cannot be read, and notifications come.
    Unreadable,
    #[default]
    Well,
}

impl World {
    fn is_away(self) -> bool {
        matches!(self, Self::Away | Self::Unreadable)
    }
}

/// What becomes of those who ask for a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Messages {
    #[default]
    Held,
    Expired,
    Unreadable,
    /// No answer comes.
    Stuck,
}

impl Memory {
    pub(crate) fn set_messages(&self, messages: Messages) {
        self.0.lock().messages = messages;
    }

    /// How often a message was asked for.
    pub(crate) fn messages_read(&self) -> usize {
        self.0.lock().messages_read
    }

    /// How many rows replays have read.
    pub(crate) fn rows_read(&self) -> usize {
        self.0.lock().rows_read
    }

    pub(crate) fn set(&self, world: World) {
        let mut state = self.0.lock();
        state.world = world;
        if world == World::Away {
            state.bells.clear();
        }
    }

    /// What listens now hears nothing any more, and does not break.
    pub(crate) fn lose_listeners(&self) {
        let mut state = self.0.lock();
        let lost = std::mem::take(&mut state.bells);
        state.lost_bells.extend(lost);
    }

    /// Breaks the connections that listen.
    pub(crate) fn cut(&self) {
        self.0.lock().bells.clear();
    }

    pub(crate) fn send(&self, convo: &str) -> u64 {
        self.commit(&format!(r#""convoId":"{convo}","messageId":"x""#))
    }

    /// A message that can be asked for.
    pub(crate) fn send_message(&self, convo: &str) -> u64 {
        let id = MessageId::random(now());
        let id = id.expose();
        self.commit(&format!(r#""convoId":"{convo}","messageId":"{id}""#))
    }

    pub(crate) fn let_answers_take(&self, time: Duration) {
        self.0.lock().answers_take = time;
    }

    /// An answer of this moment, told later.
    fn read_slowly<T: Send + 'static>(&self, look: impl FnOnce(&State) -> T) -> Answer<'static, T> {
        let answer = self.read(look);
        let time = self.0.lock().answers_take;
        async move {
            tokio::time::sleep(time).await;
            answer.await
        }
        .boxed()
    }

    pub(crate) fn join(&self, did: &str, convo: &str) -> u64 {
        let seq = self.change(did, convo, "joined");
        self.stay(did, convo, seq)
    }

    /// The event of it is lost.
    pub(crate) fn join_unseen(&self, did: &str, convo: &str) -> u64 {
        self.skip(1);
        let seq = self.0.lock().last;
        self.stay(did, convo, seq)
    }

    fn stay(&self, did: &str, convo: &str, seq: u64) -> u64 {
        let stay = Membership {
            convo: ConvoId::parse(convo).unwrap(),
            joined: Seq::new(seq),
            left: None,
        };
        let did = Did::parse(did).unwrap();
        self.0.lock().stays.entry(did).or_default().push(stay);
        seq
    }

    /// The event of it is lost.
    pub(crate) fn remove_unseen(&self, did: &str, convo: &str) -> u64 {
        self.end_stay(did, convo);
        self.skip(1);
        self.0.lock().last
    }

    pub(crate) fn remove(&self, did: &str, convo: &str) -> u64 {
        // The row first: with the event, it is one transaction.
        self.end_stay(did, convo);
        self.change(did, convo, "removed")
    }

    fn end_stay(&self, did: &str, convo: &str) {
        let mut state = self.0.lock();
        let left = Seq::new(state.last + 1);
        let stays = state.stays.get_mut(&Did::parse(did).unwrap()).unwrap();
        let open = |stay: &&mut Membership| stay.left.is_none() && stay.convo.expose() == convo;
        stays.iter_mut().find(open).unwrap().left = Some(left);
    }

    fn change(&self, did: &str, convo: &str, action: &str) -> u64 {
        self.commit(&format!(
            r#""convoId":"{convo}","type":"membershipChange","did":"{did}","action":"{action}""#
        ))
    }

    fn commit(&self, rest: &str) -> u64 {
        let mut state = self.0.lock();
        state.last += 1;
        let text = format!(r#"{{"cursor":"{}",{rest}}}"#, state.last);
        let (seq, event) = (Seq::new(state.last), Event::parse(&text).unwrap());
        let event = Some(Arc::new(event));
        state.rows.push(Stored { seq, event });
        if state.world != World::DeafToEvents {
            ring(&state, "relay_events", &format!("[{text}]"));
        }
        state.last
    }

    /// Another node tells something that is kept nowhere.
    pub(crate) fn tell(&self, passing: &Passing) {
        let payloads = Passing::payloads([passing]);
        ring(&self.0.lock(), "relay_passing", &payloads[0]);
    }

    /// Numbers that no event will ever have.
    pub(crate) fn skip(&self, count: u64) {
        self.0.lock().last += count;
    }

    /// Nobody can read this event any more, if it is still there.
    pub(crate) fn spoil(&self, seq: u64) {
        let mut state = self.0.lock();
        let spoilt = state.rows.iter_mut().filter(|row| row.seq.get() == seq);
        spoilt.for_each(|row| row.event = None);
    }

    /// A standby takes over that has nothing after this event, and whose numbers go on there.
    pub(crate) fn fail_over(&self, last: u64, leap: u64) {
        let mut state = self.0.lock();
        let last = Seq::new(last);
        state.rows.retain(|row| row.seq <= last);
        for stays in state.stays.values_mut() {
            stays.retain(|stay| stay.joined <= last);
            for stay in stays {
                stay.left = stay.left.filter(|left| *left <= last);
            }
        }
        state.last = leap;
    }

    /// Forgets the events up to here.
    pub(crate) fn forget(&self, through: u64) {
        let mut state = self.0.lock();
        state.floor = through;
        state.rows.retain(|row| row.seq.get() > through);
    }

    pub(crate) fn hub(&self, settings: Settings) -> (Hub, Shutdown) {
        let shutdown = Shutdown::default();
        let hub = Hub::start(Arc::new(self.clone()), Live::new(settings), &shutdown);
        (hub, shutdown)
    }

    fn read<T>(&self, look: impl FnOnce(&State) -> T) -> Answer<'static, T>
    where
        T: Send + 'static,
    {
        let state = self.0.lock();
        if state.world == World::Silent {
            return std::future::pending().boxed();
        }
        let answer = match state.world.is_away() {
            true => Err(StoreError::Unavailable),
            false => Ok(look(&state)),
        };
        async move { answer }.boxed()
    }
}

fn ring(state: &State, channel: &str, payload: &str) {
    if state.world == World::Deaf {
        return;
    }
    for bell in &state.bells {
        let notification = Notification {
            channel: channel.to_owned(),
            payload: payload.to_owned(),
        };
        // Whoever listens anew has let go of the one before.
        let rung = bell.try_send(notification);
        assert!(!matches!(rung, Err(TrySendError::Full(_))));
    }
}

fn range(rows: &[Stored], (after, through): (Seq, Seq)) -> impl Iterator<Item = &Stored> {
    rows.iter()
        .filter(move |row| row.seq > after && row.seq <= through)
}

fn is_about(topic: &Topic, row: &Stored) -> bool {
    let about = row.event.as_ref().map(|event| event.route());
    about.is_none_or(|route| match (route, topic) {
        (Route::Account(did), Topic::Account(of)) => did == of,
        (Route::Convo(convo) | Route::Membership { convo, .. }, Topic::Convo(of)) => convo == of,
        _ => false,
    })
}

impl Journal for Memory {
    fn ends(&self) -> Answer<'_, Ends> {
        self.read_slowly(|state| Ends {
            floor: Seq::new(state.floor),
            head: Seq::new(state.last),
            at: now(),
        })
    }

    fn leap_over(&self, given: Seq) -> Answer<'_, ()> {
        self.0.lock().last = given.get() + LEAP;
        self.read(|_| ())
    }

    fn between(&self, after: Seq, through: Seq, limit: u32) -> Answer<'_, Vec<Stored>> {
        self.read(|state| {
            let rows = range(&state.rows, (after, through));
            rows.take(limit as usize).cloned().collect()
        })
    }

    fn runs<'a>(&'a self, runs: &'a [Run], each: u32) -> Answer<'a, Vec<Vec<Stored>>> {
        let read = self.read(|state| {
            let rows = |run: &Run| {
                let rows = range(&state.rows, (run.after, run.through));
                let of_topic = rows.filter(|row| is_about(&run.topic, row));
                of_topic.take(each as usize).cloned().collect()
            };
            runs.iter().map(rows).collect::<Vec<Vec<_>>>()
        });
        let memory = self.clone();
        async move {
            let read = read.await?;
            memory.0.lock().rows_read += read.iter().map(Vec::len).sum::<usize>();
            Ok(read)
        }
        .boxed()
    }

    fn memberships<'a>(&'a self, did: &'a Did) -> Answer<'a, Vec<Membership>> {
        self.read_slowly(|state| state.stays.get(did).cloned().unwrap_or_default())
    }

    fn standings<'a>(&'a self, of: &'a Subscriber) -> Answer<'a, Vec<Standing>> {
        self.read(|state| {
            let stays = state.stays.get(&of.did).cloned().unwrap_or_default();
            let mut circle = circle::Circle::as_of(Seq::LAST, stays);
            circle.narrow(of.filter.as_ref());
            let standing = |convo: &ConvoId| Standing {
                convo_id: convo.clone(),
                epoch: Epoch::default(),
                last_seq: 7,
            };
            circle.present().map(standing).collect()
        })
    }

    fn listen<'a>(&'a self, _: &'a [&'a str]) -> Answer<'a, Box<dyn Bell>> {
        let (sender, receiver) = mpsc::channel(100_000);
        if !self.0.lock().world.is_away() {
            self.0.lock().bells.push(sender);
        }
        self.read(|_| Box::new(MemoryBell(receiver)) as Box<dyn Bell>)
    }

    fn announced(&self, announced: Announced) -> Answer<'_, Option<StoredMessage>> {
        let message = StoredMessage {
            message_id: announced.message_id,
            kind: MessageKind::Application,
            seq: 7,
            epoch: Epoch::default(),
            ciphertext: Bytes::from_static(&[7; 512]),
            received_at: announced.at,
        };
        let mut state = self.0.lock();
        state.messages_read += 1;
        match state.messages {
            Messages::Held => async { Ok(Some(message)) }.boxed(),
            Messages::Expired => async { Ok(None) }.boxed(),
            Messages::Unreadable => async { Err(StoreError::Unavailable) }.boxed(),
            Messages::Stuck => std::future::pending().boxed(),
        }
    }

    fn notify<'a>(&'a self, channel: &'a str, payloads: &'a [String]) -> Answer<'a, ()> {
        self.read(|state| {
            for payload in payloads {
                ring(state, channel, payload);
            }
        })
    }

    fn queue_usage(&self) -> Answer<'_, f64> {
        self.read(|_| 0.0)
    }
}

struct MemoryBell(mpsc::Receiver<Notification>);

impl Bell for MemoryBell {
    fn next(&mut self) -> Answer<'_, Notification> {
        async { self.0.recv().await.ok_or(StoreError::Unavailable) }.boxed()
    }
}

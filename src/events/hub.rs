//! The door to the event path: what starts it, and what sessions hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::Guard;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::board::{Attached, Board};
use super::canary::Canary;
use super::circle::{Circle, Subscriber};
use super::dispatcher::{Command, Dispatcher};
use super::ear::Ear;
use super::event::Event;
use super::follower::Follower;
use super::health::Health;
use super::hydration::Hydrator;
use super::journal::Journal;
use super::outbox::Outbox;
use super::passing::{self, PassingError, ToTell};
use super::replays::Replays;
use super::settings::Settings;
use super::subscription::Subscription;
use super::topics::SeatId;
use crate::runtime::{Live, Shutdown, queue};
use crate::store::{Membership, StoreError};
use crate::types::{ConvoId, Cursor, Seq, unprintable};
use crate::wire::{Ephemeral, Passing, Typing};

/// The handle that sessions share.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

unprintable!(Hub);

struct Inner {
    journal: Arc<dyn Journal>,
    settings: Live<Settings>,
    health: Arc<Health>,
    commands: mpsc::Sender<Command>,
    /// A session may have gone whose seat is still there.
    has_strays: Arc<AtomicBool>,
    passing: mpsc::Sender<ToTell>,
    hydrator: Hydrator,
    replays: Replays,
}

/// The hub did not answer in time: the node is overloaded or on its way down.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the hub does not answer")]
pub struct HubError;

impl Hub {
    /// Starts to follow the stream. Sessions may subscribe at once; they wait
    /// until it is known.
    pub fn start(journal: Arc<dyn Journal>, settings: Live<Settings>, shutdown: &Shutdown) -> Self {
        let now = settings.snapshot();
        let health = Arc::new(Health::default());
        let canary = Arc::new(Canary::new());
        let has_strays = Arc::new(AtomicBool::new(false));
        let (ring_in, ring_out) = mpsc::channel(now.ring_max);
        let (feed_in, feed_out) = mpsc::channel(FEED_MAX);
        let (commands_in, commands_out) = mpsc::channel(COMMANDS_MAX);
        let (passing_in, passing_out) = mpsc::channel(now.passing_queue_max);
        let ear = Ear {
            journal: Arc::clone(&journal),
            settings: settings.clone(),
            health: Arc::clone(&health),
            canary: Arc::clone(&canary),
            ring: ring_in,
        };
        let follower = Follower {
            journal: Arc::clone(&journal),
            settings: settings.clone(),
            health: Arc::clone(&health),
            canary: Arc::clone(&canary),
            ring: ring_out,
            feed: feed_in,
        };
        let dispatcher = Dispatcher {
            settings: settings.clone(),
            commands: commands_out,
            feed: feed_out,
            has_strays: Arc::clone(&has_strays),
        };
        shutdown.spawn_vital(ear.run());
        shutdown.spawn_vital(follower.run());
        shutdown.spawn_vital(dispatcher.run(shutdown.clone()));
        shutdown.spawn_vital(canary.run(
            Arc::clone(&journal),
            settings.clone(),
            Arc::clone(&health),
        ));
        shutdown.spawn_vital(passing::run(
            Arc::clone(&journal),
            now.passing_every,
            passing_out,
        ));
        Self(Arc::new(Inner {
            replays: Replays::start(Arc::clone(&journal), settings.clone(), shutdown),
            hydrator: Hydrator::new(Arc::clone(&journal), settings.clone(), shutdown.clone()),
            passing: passing_in,
            journal,
            settings,
            health,
            commands: commands_in,
            has_strays,
        }))
    }

    /// Whether this node hears what commits.
    pub fn health(&self) -> &Health {
        &self.0.health
    }

    /// Everything `subscriber` may see after `cursor`, or from now on.
    pub fn subscribe(&self, subscriber: Subscriber, cursor: Option<Cursor>) -> Subscription {
        Subscription::new(self.clone(), subscriber, cursor)
    }

    /// Tells all sessions of a conversation, on all nodes, something that is kept
    /// nowhere. Returns when the nodes are told; whoever does not listen then never hears it.
    pub async fn pass_on(&self, ephemeral: Ephemeral) -> Result<(), PassingError> {
        passing::tell(&self.0.passing, Passing::Ephemeral(ephemeral)).await
    }

    /// Whether anything is left for this subscriber to hear. All its conversations
    /// may always bring something; one of which it has left brings nothing after
    /// its own going.
    pub async fn has_news_for(
        &self,
        subscriber: &Subscriber,
        cursor: Option<Cursor>,
    ) -> Result<bool, StoreError> {
        let Some(convo) = &subscriber.filter else {
            return Ok(true);
        };
        let reading = self.0.journal.memberships(&subscriber.did).await?;
        let circle = Circle::as_of(Seq::LAST, reading);
        Ok(circle.hears_after(convo, cursor.map(Cursor::seq)))
    }

    pub(super) fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    /// The settings of this moment, for a short look.
    pub(super) fn settings(&self) -> Guard<Arc<Settings>> {
        self.0.settings.load()
    }

    /// What one session gets at once, with its messages: as many bytes of them as may
    /// wait for it anyway.
    pub(super) async fn hydrate(
        &self,
        events: Vec<Arc<Event>>,
        wanted: impl Fn(&Event) -> bool,
    ) -> Vec<Arc<Event>> {
        let bytes_max = self.settings().outbox_bytes_max;
        self.0.hydrator.hydrate(events, bytes_max, wanted).await
    }

    pub(super) fn replays(&self) -> &Replays {
        &self.0.replays
    }

    pub(super) async fn register(&self, subscriber: &Subscriber) -> Result<HeldSeat, HubError> {
        let outbox = Arc::new(Outbox::new(self.settings().outbox_bytes_max));
        // Before the wait, which may be cut short.
        let mut seat = HeldSeat {
            id: SeatId::NOBODYS,
            outbox: Arc::clone(&outbox),
            hub: self.clone(),
        };
        let (did, filter) = (subscriber.did.clone(), subscriber.filter.clone());
        let register = move |board: &mut Board| board.register(did, filter, outbox);
        seat.id = self.ask(register).await?;
        Ok(seat)
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Board) -> T + Send + 'static,
    ) -> Result<T, HubError> {
        let (answer, answered) = oneshot::channel();
        // A session that no longer waits for its answer has gone.
        let command: Command = Box::new(move |board| drop(answer.send(question(board))));
        let asked = async {
            let sent = queue::send(&self.0.commands, COMMANDS, command).await;
            sent.map_err(|_| HubError)?;
            answered.await.map_err(|_| HubError)
        };
        let limit = self.settings().hub_timeout;
        timeout(limit, asked).await.unwrap_or(Err(HubError))
    }

    /// Tells the board something. Nothing, if it is busy.
    fn tell(&self, word: impl FnOnce(&mut Board) + Send + 'static) -> Result<(), HubError> {
        let told = queue::offer(&self.0.commands, COMMANDS, Box::new(word));
        told.map_err(|_| HubError)
    }
}

/// A session's place at the hub, given back when dropped.
pub(super) struct HeldSeat {
    id: SeatId,
    outbox: Arc<Outbox>,
    hub: Hub,
}

impl HeldSeat {
    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) async fn attach(
        &self,
        reading: Vec<Membership>,
        after: Option<Seq>,
    ) -> Result<Attached, HubError> {
        let id = self.id;
        let attach = move |board: &mut Board| board.attach(id, reading, after);
        self.hub.ask(attach).await?.ok_or(HubError)
    }

    pub(super) async fn resume(&self) -> Result<Attached, HubError> {
        let id = self.id;
        let resume = move |board: &mut Board| board.resume(id);
        self.hub.ask(resume).await?.ok_or(HubError)
    }

    /// Says that the subscriber types, if it is in that conversation. Dropped if
    /// the hub is busy.
    pub(super) fn type_in(&self, convo_id: ConvoId, is_typing: bool) {
        let (id, passing) = (self.id, self.hub.0.passing.clone());
        let _ = self.hub.tell(move |board| {
            if let Some(did) = board.is_member(id, &convo_id) {
                let typing = Typing {
                    did: did.clone(),
                    convo_id,
                    is_typing,
                };
                passing::mention(&passing, typing);
            }
        });
    }
}

impl Drop for HeldSeat {
    fn drop(&mut self) {
        self.outbox.shut_for_good();
        let id = self.id;
        let goodbye = || self.hub.tell(move |board| board.leave(id));
        // If it cannot be said, the hub's sweep finds the shut outbox.
        if id == SeatId::NOBODYS || goodbye().is_err() {
            self.hub.0.has_strays.store(true, Ordering::Release);
        }
    }
}

/// Batches between the follower and the hub: each is one notification or page.
const FEED_MAX: usize = 64;
/// Sessions that may ask at once; more wait their turn, up to `hub_timeout`.
const COMMANDS_MAX: usize = 1024;
/// By which they are counted when they have to wait.
const COMMANDS: &str = "hub";

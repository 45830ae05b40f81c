//! Follows the stream for this node: takes notifications as hints, the table as
//! the truth, and passes every event on once, in order.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::canary::Canary;
use super::ear::{EVENTS, Heard, PASSING};
use super::event::{Event, Stored};
use super::health::{Health, Hearing};
use super::journal::Journal;
use super::sequence::{Announced, Sequence};
use super::settings::Settings;
use crate::runtime::{Backoff, Live, queue, random};
use crate::store::{Ends, Notification, StoreError};
use crate::types::{CoarseTime, Seq};
use crate::wire::{Passing, envelopes};

/// What the hub is fed, gapless.
#[derive(Debug)]
pub(super) enum Feed {
    /// The first word: the stream up to `head`, of which these are the last
    /// events, all of `(floor, head]`.
    Start {
        floor: Seq,
        head: Seq,
        /// When the last event was.
        at: CoarseTime,
        events: Vec<Arc<Event>>,
    },
    Events(Vec<Arc<Event>>),
    /// There is nothing, or nothing readable, up to here.
    Hole(Seq),
    /// Not part of the stream.
    Passing(Arc<Event>),
}

pub(super) struct Follower {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) settings: Live<Settings>,
    pub(super) health: Arc<Health>,
    pub(super) canary: Arc<Canary>,
    pub(super) ring: mpsc::Receiver<Heard>,
    pub(super) feed: mpsc::Sender<Feed>,
}

/// However the follower ends, nobody follows the stream then: readiness must say so. To whoever
/// watches it is an alarm only where this is a fault, and not where the process ends: after a
/// drain, at a second signal, at a start that comes to nothing.
struct BlindAfter(Arc<Health>);

impl Drop for BlindAfter {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => self.0.set_hearing(Hearing::Blind),
            false => self.0.stop(),
        }
    }
}

/// Why the follower stopped for a moment.
enum Stop {
    /// The hub is gone: the process ends.
    Hub,
    Store(StoreError),
}

/// What the follower did.
enum Done {
    /// It took something from the ring.
    Hint,
    /// It read the table up to its head.
    Looked,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Follower {
    pub(super) async fn run(mut self) {
        let _blind = BlindAfter(Arc::clone(&self.health));
        let first = self.settings.load().reconnect_first;
        let mut backoff = Backoff::new(first, self.settings.load().reconnect_most);
        let mut told = None;
        let mut sequence = loop {
            match self.start().await {
                Ok(sequence) => break sequence,
                Err(Stop::Hub) => return,
                Err(Stop::Store(error)) => {
                    if told.as_ref() != Some(&error) {
                        tracing::warn!(%error, "cannot read the event stream");
                        told = Some(error);
                    }
                    tokio::time::sleep(backoff.next(random())).await;
                }
            }
        };
        let settings = self.settings.clone();
        let mut changed = pin!(settings.changed());
        let mut failing = true;
        let mut next_look = Instant::now();
        loop {
            let done = tokio::select! {
                heard = self.ring.recv() => match heard {
                    Some(heard) => self.heard(&mut sequence, heard, failing).await,
                    None => return,
                },
                () = self.health.look.notified() => self.look(&mut sequence).await,
                () = sleep_until(next_look) => self.look(&mut sequence).await,
                // The next look may be due sooner now.
                () = changed.as_mut() => {
                    changed.set(settings.changed());
                    self.look(&mut sequence).await
                }
            };
            match done {
                Ok(Done::Hint) => continue,
                Ok(Done::Looked) => {
                    failing = false;
                    backoff.reset();
                }
                Err(Stop::Hub) => return,
                Err(Stop::Store(error)) => {
                    if !failing {
                        tracing::warn!(%error, "cannot read the event stream");
                    }
                    failing = true;
                }
            }
            self.judge(failing);
            next_look = Instant::now() + self.wait(failing, &mut backoff);
        }
    }

    fn judge(&self, failing: bool) {
        let connected = self.health.is_listening();
        let punctual = self.health.punctual.load(Ordering::Relaxed);
        self.health
            .set_hearing(match (failing, connected && punctual) {
                (true, _) => Hearing::Blind,
                (false, true) => Hearing::Ringing,
                (false, false) => Hearing::Polling,
            });
    }

    fn wait(&self, failing: bool, backoff: &mut Backoff) -> Duration {
        if failing {
            return backoff.next(random());
        }
        match self.health.hearing() {
            Hearing::Ringing => self.settings.load().reconcile_every,
            Hearing::Polling | Hearing::Blind => self.settings.load().poll_every,
        }
    }

    /// Finds the head, and the last events before it that can all be read.
    async fn start(&self) -> Result<Sequence, Stop> {
        let Ends { floor, head, at } = self.journal.ends().await?;
        let wanted = u64::from(self.settings.load().recent_at_start);
        let mut floor = floor.max(Seq::new(head.get().saturating_sub(wanted)));
        let mut events = Vec::new();
        let mut after = floor;
        loop {
            let (page, is_full) = self.page(after, head).await?;
            after = page.last().map_or(head, |row| row.seq);
            for row in page {
                match row.event {
                    Some(event) => events.push(event),
                    // Whoever missed it has to be told.
                    None => (floor, events) = (row.seq, Vec::new()),
                }
            }
            if !is_full {
                break;
            }
        }
        // Some may have been forgotten before they were read.
        floor = floor.max(self.journal.ends().await?.floor);
        events.retain(|event| event.seq() > floor);
        self.pass(Feed::Start {
            floor,
            head,
            at,
            events,
        })
        .await?;
        Ok(Sequence::starting_at(head))
    }

    async fn heard(
        &self,
        sequence: &mut Sequence,
        heard: Heard,
        failing: bool,
    ) -> Result<Done, Stop> {
        match heard {
            Heard::Listening => self.look(sequence).await,
            Heard::Rung(notification) => {
                let Notification { channel, payload } = notification;
                match channel.as_str() {
                    EVENTS => self.announced(sequence, &payload, failing).await?,
                    // Nor is it known then who was removed meanwhile.
                    PASSING if failing || self.health.overflowed.load(Ordering::Relaxed) => {}
                    PASSING => self.passing(&payload).await?,
                    _ => self.canary.hear(&payload),
                }
                Ok(Done::Hint)
            }
        }
    }

    /// Passes on what comes next. While the table cannot be read (`failing`), what lies
    /// beyond a gap is left for when it can.
    async fn announced(
        &self,
        sequence: &mut Sequence,
        payload: &str,
        failing: bool,
    ) -> Result<(), Stop> {
        let Ok(texts) = envelopes(payload) else {
            // Whatever it was, the table has it.
            metrics::counter!("relay_events_unreadable_total").increment(1);
            return match failing {
                true => Ok(()),
                false => self.look(sequence).await.map(|_| ()),
            };
        };
        let mut events = Vec::with_capacity(texts.len());
        for text in texts {
            let Ok(event) = Event::parse(text) else {
                metrics::counter!("relay_events_unreadable_total").increment(1);
                continue;
            };
            let mut announced = sequence.announced(event.seq());
            if let Announced::Missed { through } = announced {
                if failing {
                    break;
                }
                metrics::counter!("relay_events_gaps_total").increment(1);
                self.pass_all(&mut events).await?;
                self.read(sequence, through).await?;
                announced = sequence.announced(event.seq());
            }
            if announced == Announced::Next {
                events.push(Arc::new(event));
            }
        }
        self.pass_all(&mut events).await
    }

    async fn passing(&self, payload: &str) -> Result<(), Stop> {
        for passing in Passing::list(payload) {
            let event = Arc::new(Event::passing(passing));
            self.pass(Feed::Passing(event)).await?;
        }
        Ok(())
    }

    /// Reads what the table has beyond the head.
    async fn look(&self, sequence: &mut Sequence) -> Result<Done, Stop> {
        self.health.overflowed.store(false, Ordering::Relaxed);
        let mut head = self.journal.ends().await?.head;
        if head < sequence.head() {
            // Numbers would be given twice, and we would take what has them for what we have had.
            tracing::warn!("the event stream has lost its end");
            self.journal.leap_over(sequence.head()).await?;
            head = self.journal.ends().await?.head;
        }
        self.read(sequence, head).await?;
        Ok(Done::Looked)
    }

    /// Reads the table up to a place that is known to be committed.
    async fn read(&self, sequence: &mut Sequence, through: Seq) -> Result<(), Stop> {
        let mut is_full = true;
        while is_full && sequence.head() < through {
            let page;
            (page, is_full) = self.page(sequence.head(), through).await?;
            let mut events = Vec::with_capacity(page.len());
            for row in page {
                let missing = sequence.read(row.seq);
                if missing > 0 {
                    self.pass_all(&mut events).await?;
                    self.hole(Seq::new(row.seq.get() - 1), missing).await?;
                }
                match row.event {
                    Some(event) => events.push(event),
                    None => {
                        metrics::counter!("relay_events_unreadable_total").increment(1);
                        self.pass_all(&mut events).await?;
                        self.hole(row.seq, 1).await?;
                    }
                }
            }
            self.pass_all(&mut events).await?;
        }
        match sequence.exhausted(through) {
            0 => Ok(()),
            missing => self.hole(through, missing).await,
        }
    }

    async fn hole(&self, through: Seq, missing: u64) -> Result<(), Stop> {
        tracing::warn!(missing, "the event stream has a hole");
        metrics::counter!("relay_events_holes_total").increment(1);
        self.pass(Feed::Hole(through)).await
    }

    /// A page of the table, and whether there may be more.
    async fn page(&self, after: Seq, through: Seq) -> Result<(Vec<Stored>, bool), StoreError> {
        let limit = self.settings.load().page_max;
        let page = self.journal.between(after, through, limit).await?;
        let is_full = page.len() >= limit as usize;
        Ok((page, is_full))
    }

    async fn pass_all(&self, events: &mut Vec<Arc<Event>>) -> Result<(), Stop> {
        if events.is_empty() {
            return Ok(());
        }
        self.pass(Feed::Events(std::mem::take(events))).await
    }

    /// Waits while the hub is busy: the ring takes up what comes meanwhile.
    async fn pass(&self, feed: Feed) -> Result<(), Stop> {
        let sent = queue::send(&self.feed, "feed", feed).await;
        sent.map_err(|_| Stop::Hub)
    }
}

//! One subscription of a load: it counts what arrives, loses its connection when
//! a storm says so, and resumes by cursor.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::CreationError;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::scenario::Scenario;
use super::socket_tally::SocketTally;
use super::tally::{Counters, Latencies, Schedule, count, number_of};
use super::world::Member;
use crate::chain;
use crate::frame::{Event, Framing};
use crate::subscription::{Subscribe, Subscription, SubscriptionError};

/// How long a refused client waits, at first and at most.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A relay that never says `#synced` is treated as if it had.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Everyone subscribes.
    #[default]
    Arriving,
    /// Messages are due.
    Running,
    /// And the hostile are at work.
    UnderAttack,
    /// The last message was due; slow sockets may read now.
    Ending,
    /// Everyone leaves.
    Over,
}

/// What all are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Phase {
    pub stage: Stage,
    /// How many storms there have been.
    pub storms: u64,
}

/// What all sockets of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub schedule: Schedule,
    pub deliveries: Latencies,
    /// From the first attempt until the subscription is live.
    pub connects: Latencies,
    /// How late this program did what it had to do by itself.
    pub lateness: Latencies,
    pub counters: Counters,
    /// Why the first attempt to connect failed that did.
    pub first_refusal: OnceLock<String>,
}

impl Shared {
    pub(super) fn new(schedule: Schedule) -> Result<Self, CreationError> {
        Ok(Self {
            schedule,
            deliveries: Latencies::new()?,
            connects: Latencies::new()?,
            lateness: Latencies::new()?,
            counters: Counters::default(),
            first_refusal: OnceLock::new(),
        })
    }
}

/// One socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub shared: Arc<Shared>,
    pub member: Member,
    pub phase: watch::Receiver<Phase>,
    /// Its number among all sockets.
    pub number: usize,
    pub slow: bool,
    pub tally: SocketTally,
    cursor: Option<String>,
}

impl Listener {
    pub(super) fn new(
        shared: Arc<Shared>,
        mut member: Member,
        phase: watch::Receiver<Phase>,
        number: usize,
        conversation: usize,
        slow_share: f64,
    ) -> Self {
        let slow = Scenario::is_in_share(number, slow_share);
        if slow {
            member.relay = Arc::new(member.relay.with_small_buffers());
        }
        Self {
            shared,
            member,
            phase,
            number,
            slow,
            tally: SocketTally::of(conversation),
            cursor: None,
        }
    }

    /// Listens until it is over. `storm_share` says whether storms hit this socket.
    pub(super) async fn run(mut self, storm_share: f64) -> SocketTally {
        let is_hit = Scenario::is_in_share(self.number, storm_share);
        while !self.is_over() {
            let Some(subscription) = self.connect().await else {
                break;
            };
            let left = self.listen(subscription, is_hit).await;
            self.shared.counters.live.fetch_sub(1, Ordering::Relaxed);
            match left {
                Left::Over => break,
                Left::Cut => {
                    self.tally.reconnects += 1;
                    count(&self.shared.counters.reconnects);
                }
            }
        }
        self.tally
    }

    fn is_over(&self) -> bool {
        self.phase.borrow().stage == Stage::Over
    }

    /// Connects, trying again as a phone would. None when it is over.
    async fn connect(&mut self) -> Option<Subscription> {
        let begin = Instant::now();
        let mut wait = BACKOFF;
        loop {
            if self.is_over() {
                return None;
            }
            match self.subscribe().await {
                Ok(subscription) => {
                    if !self.slow {
                        self.shared.connects.record(self.number, begin.elapsed());
                    }
                    count(&self.shared.counters.live);
                    return Some(subscription);
                }
                Err(error) => {
                    self.tally.refused += 1;
                    self.shared.first_refusal.get_or_init(|| chain(&error));
                }
            }
            sleep(wait).await;
            wait = (wait * 2).min(BACKOFF_MAX);
        }
    }

    /// Subscribes and waits until the replay is over.
    pub(super) async fn subscribe(&mut self) -> Result<Subscription, SubscriptionError> {
        let subscribe = Subscribe {
            cursor: self.cursor.clone(),
            ..Subscribe::to_all(Framing::DagCbor)
        };
        let mut subscription =
            Subscription::open(&self.member.relay, &self.member.account, subscribe).await?;
        let replay = async {
            while let Some(event) = subscription.next().await? {
                if event.is_synced() {
                    break;
                }
                self.hear(&event);
            }
            Ok::<_, SubscriptionError>(())
        };
        let replayed = timeout(SYNC_TIMEOUT, replay).await;
        // What was heard before a failure is not asked for again.
        self.cursor = subscription.cursor().map(str::to_owned);
        replayed.unwrap_or(Ok(()))?;
        Ok(subscription)
    }

    async fn listen(&mut self, mut subscription: Subscription, is_hit: bool) -> Left {
        let storms = self.phase.borrow().storms;
        loop {
            let phase = *self.phase.borrow();
            if phase.stage == Stage::Over {
                // Saying goodbye is all that can fail here.
                let _ = subscription.close().await;
                return Left::Over;
            }
            if is_hit && phase.storms > storms {
                self.cursor = subscription.cursor().map(str::to_owned);
                let _ = subscription.drop_connection();
                return Left::Cut;
            }
            let may_read = !self.slow || phase.stage >= Stage::Ending;
            tokio::select! {
                changed = self.phase.changed() => if changed.is_err() {
                    return Left::Over;
                },
                event = subscription.next(), if may_read => match event {
                    Ok(Some(event)) => self.hear(&event),
                    Ok(None) | Err(_) => {
                        self.cursor = subscription.cursor().map(str::to_owned);
                        return Left::Cut;
                    }
                },
            }
        }
    }

    fn hear(&mut self, event: &Event) {
        let (Some(seq), true) = (event.body.seq, event.is_durable()) else {
            return;
        };
        let schedule = &self.shared.schedule;
        let number = event.body.message_id.as_deref().and_then(number_of);
        let message = number.filter(|_| event.is_message()).and_then(|number| {
            let latency = schedule.latency(number, Instant::now())?;
            Some((schedule.place(number), latency))
        });
        match message {
            Some((place, latency)) => {
                if self.tally.message(seq, place) {
                    count(&self.shared.counters.delivered);
                    if !self.slow {
                        self.shared.deliveries.record(self.number, latency);
                    }
                }
            }
            // Commits of the set-up have no place in the schedule.
            None => self.tally.event(seq),
        }
    }
}

enum Left {
    Over,
    /// By a storm, or by the relay.
    Cut,
}

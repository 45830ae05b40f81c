//! Reads the listening connection and does nothing else, so that Postgres never
//! waits for this node: a listener that does not read pins the notification queue
//! and holds up vacuum for the whole cluster.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::canary::Canary;
use super::health::Health;
use super::journal::{Bell, Journal};
use super::settings::Settings;
use crate::runtime::{Backoff, Live, random};
use crate::store::Notification;

/// What was heard, in the order of hearing.
#[derive(Debug)]
pub(super) enum Heard {
    /// We listen again: what committed before must be read.
    Listening,
    Rung(Notification),
}

/// The channels of the event path.
pub(super) const EVENTS: &str = "relay_events";
pub(super) const PASSING: &str = "relay_passing";

pub(super) struct Ear {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) settings: Live<Settings>,
    pub(super) health: Arc<Health>,
    pub(super) canary: Arc<Canary>,
    pub(super) ring: mpsc::Sender<Heard>,
}

impl Ear {
    /// Listens, again and again.
    pub(super) async fn run(self) {
        let first = self.settings.load().reconnect_first;
        let mut backoff = Backoff::new(first, self.settings.load().reconnect_most);
        let mut told = None;
        loop {
            let channels = [EVENTS, PASSING, self.canary.channel()];
            match self.journal.listen(&channels).await {
                Ok(bell) => {
                    self.health.connected.send_replace(true);
                    backoff.reset();
                    told = None;
                    // It must not be lost, and a full ring is being emptied.
                    if self.ring.send(Heard::Listening).await.is_err() {
                        return;
                    }
                    self.hear(bell).await;
                }
                // Said once for each cause: an outage may be long.
                Err(error) if told.as_ref() == Some(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot listen for events");
                    told = Some(error);
                }
            }
            self.health.connected.send_replace(false);
            self.health.look.notify_one();
            metrics::counter!("relay_events_listener_reconnects_total").increment(1);
            tokio::time::sleep(backoff.next(random())).await;
        }
    }

    /// Reads until the connection is gone, or brings nothing any more.
    async fn hear(&self, mut bell: Box<dyn Bell>) {
        let mut relisten = pin!(self.health.relisten.notified());
        loop {
            let heard = tokio::select! {
                heard = bell.next() => heard,
                () = relisten.as_mut() => {
                    tracing::warn!("the listening connection brings nothing; listening anew");
                    return;
                }
            };
            match heard {
                Ok(notification) => {
                    if self.ring.try_send(Heard::Rung(notification)).is_err() {
                        // Not lost: the table has it. Say that it must be read.
                        self.health.overflowed.store(true, Ordering::Relaxed);
                        self.health.look.notify_one();
                        metrics::counter!("relay_events_ring_overflows_total").increment(1);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the listening connection broke");
                    return;
                }
            }
        }
    }
}

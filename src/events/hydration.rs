//! Puts messages into the events that announce them, for subscribers who asked for it:
//! each message is read once for all of a node's sessions, and kept for a while.

use std::sync::Arc;

use futures_util::future::join_all;
use hashbrown::HashMap;
use metrics::{counter, gauge};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::timeout;

use super::event::Event;
use super::journal::Journal;
use super::settings::Settings;
use crate::runtime::{Live, Pending, Shutdown};
use crate::types::{Seq, unprintable};

/// Puts messages into events. Clones share everything.
#[derive(Clone)]
pub(super) struct Hydrator(Arc<Inner>);

unprintable!(Hydrator);

struct Inner {
    journal: Arc<dyn Journal>,
    /// The messages that a node remembers, each as the event that brings it, so that its
    /// frames too are encoded once for all.
    events: Cache<Seq, Arc<Event>, Cost>,
    settings: Live<Settings>,
    /// What is being read. Held for moments only, never across an await.
    readings: Mutex<HashMap<Seq, Reading>>,
    shutdown: Shutdown,
}

type Reading = Pending<Arc<Event>>;

#[derive(Clone)]
struct Cost;

impl Weighter<Seq, Arc<Event>> for Cost {
    fn weight(&self, _: &Seq, event: &Arc<Event>) -> u64 {
        event.cost() as u64
    }
}

impl Hydrator {
    pub(super) fn new(
        journal: Arc<dyn Journal>,
        settings: Live<Settings>,
        shutdown: Shutdown,
    ) -> Self {
        let bytes_max = settings.load().hydrated_bytes_max;
        let about = usize::try_from(bytes_max / COST_USUAL).unwrap_or(usize::MAX);
        Self(Arc::new(Inner {
            journal,
            events: Cache::with_weighter(about, bytes_max, Cost),
            settings,
            readings: Mutex::default(),
            shutdown,
        }))
    }

    /// The same events in the same order, with up to `bytes_max` bytes of messages: those
    /// of the events that `wanted` names, as far as they can be read.
    pub(super) async fn hydrate(
        &self,
        events: Vec<Arc<Event>>,
        bytes_max: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Vec<Arc<Event>> {
        let each = events.into_iter().map(|event| {
            let is_wanted = event.is_message() && wanted(&event);
            async move {
                match is_wanted {
                    true => (self.hydrated(&event).await, event),
                    false => (Arc::clone(&event), event),
                }
            }
        });
        let mut bytes = 0;
        let hydrated = join_all(each).await.into_iter().map(|(hydrated, plain)| {
            let more = hydrated.message_bytes();
            if bytes + more > bytes_max {
                return plain;
            }
            bytes += more;
            hydrated
        });
        hydrated.collect()
    }

    /// One event with its message, or as it was. Read once for all who ask meanwhile.
    async fn hydrated(&self, event: &Arc<Event>) -> Arc<Event> {
        match self.ask(event) {
            Asked::Known(known) => known,
            // It ends by itself: the one who began it has patience for all.
            // Without, if it was cut off by the end of the process.
            Asked::Reading(reading) => {
                let read = reading.answer().await;
                read.unwrap_or_else(|| Arc::clone(event))
            }
        }
    }

    fn ask(&self, event: &Arc<Event>) -> Asked {
        let seq = event.seq();
        if let Some(known) = self.known(seq) {
            return known;
        }
        let mut readings = self.0.readings.lock();
        if let Some(reading) = readings.get(&seq) {
            count("memory");
            return Asked::Reading(reading.clone());
        }
        // One may have ended between our look and the lock.
        if let Some(known) = self.known(seq) {
            return known;
        }
        let (teller, reading) = Pending::new();
        readings.insert(seq, reading.clone());
        drop(readings);
        // A task of its own: a session asks no further while its client takes nothing, and
        // the others do not wait for that.
        let reader = Reader {
            hydrator: self.clone(),
            event: Arc::clone(event),
        };
        self.0.shutdown.spawn_errand(async move {
            let read = reader.read().await;
            drop(reader);
            teller.tell(read);
        });
        Asked::Reading(reading)
    }

    fn known(&self, seq: Seq) -> Option<Asked> {
        let known = self.0.events.get(&seq)?;
        count("memory");
        Some(Asked::Known(known))
    }
}

/// How an event comes to its message.
enum Asked {
    Known(Arc<Event>),
    Reading(Reading),
}

/// Reads one message. However it ends, the next to ask does not wait for it.
struct Reader {
    hydrator: Hydrator,
    event: Arc<Event>,
}

impl Reader {
    async fn read(&self) -> Arc<Event> {
        let hydrator = &*self.hydrator.0;
        let patience = hydrator.settings.load().hydrate_timeout;
        let read = timeout(patience, self.message()).await.unwrap_or(Err(()));
        count(match &read {
            Ok(Some(_)) => "database",
            Ok(None) => "nowhere",
            Err(()) => "failed",
        });
        let failed = read.is_err();
        let hydrated = read.ok().flatten();
        let hydrated = hydrated.unwrap_or_else(|| Arc::clone(&self.event));
        // Those who wait hear of a failure too, and do not try one after the other.
        if !failed {
            let seq = self.event.seq();
            hydrator.events.insert(seq, Arc::clone(&hydrated));
            gauge!("relay_events_hydrated_bytes").set(hydrator.events.weight() as f64);
        }
        hydrated
    }

    async fn message(&self) -> Result<Option<Arc<Event>>, ()> {
        let Some(announced) = self.event.announces() else {
            return Ok(None);
        };
        let convo = announced.convo.clone();
        let message = self.hydrator.0.journal.announced(announced).await;
        let message = message.map_err(|_| ())?;
        let message = message.map(|message| message.into_view(&convo));
        Ok(message.and_then(|message| self.event.hydrated(message).map(Arc::new)))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let seq = self.event.seq();
        self.hydrator.0.readings.lock().remove(&seq);
    }
}

fn count(source: &'static str) {
    counter!("relay_events_hydrations_total", "source" => source).increment(1);
}

/// A message of 1 KiB with its frames.
const COST_USUAL: u64 = 5 << 10;

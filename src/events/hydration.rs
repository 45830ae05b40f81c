//! Puts messages into the events that announce them, for subscribers who asked for it:
//! each message is read once for all of a node's sessions, and kept for a while.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metrics::{counter, gauge};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::timeout;

use super::event::Event;
use super::journal::Journal;
use crate::types::Seq;

/// The messages that a node remembers, each as the event that brings it, so that its
/// frames too are encoded once for all.
pub(super) struct Hydrator {
    journal: Arc<dyn Journal>,
    events: Cache<Seq, Arc<Event>, Cost>,
}

#[derive(Clone)]
struct Cost;

impl Weighter<Seq, Arc<Event>> for Cost {
    fn weight(&self, _: &Seq, event: &Arc<Event>) -> u64 {
        event.cost() as u64
    }
}

impl Hydrator {
    pub(super) fn new(journal: Arc<dyn Journal>, bytes_max: u64) -> Self {
        let about = usize::try_from(bytes_max / COST_USUAL).unwrap_or(usize::MAX);
        Self {
            journal,
            events: Cache::with_weighter(about, bytes_max, Cost),
        }
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

    /// One event with its message, or as it was. Whoever asks first reads for all.
    async fn hydrated(&self, event: &Arc<Event>) -> Arc<Event> {
        let seq = event.seq();
        let reader = match self.events.get_value_or_guard_async(&seq).await {
            Ok(known) => {
                counter!("relay_events_hydrations_total", "source" => "memory").increment(1);
                return known;
            }
            Err(reader) => reader,
        };
        let read = self.read(event).await;
        let source = match &read {
            Ok(Some(_)) => "database",
            Ok(None) => "nowhere",
            Err(_) => "failed",
        };
        counter!("relay_events_hydrations_total", "source" => source).increment(1);
        let failed = read.is_err();
        let hydrated = read.ok().flatten();
        let hydrated = hydrated.unwrap_or_else(|| Arc::clone(event));
        // Who waits hears of a failure too, and does not try one after the other.
        let _ = reader.insert(Arc::clone(&hydrated));
        if failed {
            self.events.remove(&seq);
        }
        gauge!("relay_events_hydrated_bytes").set(self.events.weight() as f64);
        hydrated
    }

    async fn read(&self, event: &Event) -> Result<Option<Arc<Event>>, ()> {
        let Some(announced) = event.announces() else {
            return Ok(None);
        };
        let (convo, read) = (announced.convo.clone(), self.journal.announced(announced));
        let message = timeout(PATIENCE, read).await.map_err(|_| ())?;
        let message = message.map_err(|_| ())?;
        let message = message.map(|message| message.into_view(&convo));
        Ok(message.and_then(|message| event.hydrated(message).map(Arc::new)))
    }
}

impl fmt::Debug for Hydrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hydrator")
    }
}

/// A message of 1 KiB with its frames.
const COST_USUAL: u64 = 5 << 10;
/// How long events wait for their messages. Then they go without.
const PATIENCE: Duration = Duration::from_secs(2);

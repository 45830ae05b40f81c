//! Sends itself a notification now and then, and so knows whether and how late
//! notifications arrive: by the same way, through the same ring, as events do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::health::Health;
use super::journal::Journal;
use super::settings::Settings;
use crate::runtime::Live;

/// The channel of this process alone, and the last number heard on it.
#[derive(Debug)]
pub(super) struct Canary {
    channel: String,
    heard: watch::Sender<u64>,
}

impl Canary {
    pub(super) fn new() -> Self {
        let nonce = uuid::Uuid::new_v4().simple();
        Self {
            channel: format!("relay_canary_{nonce}"),
            heard: watch::Sender::new(0),
        }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Called by the task that empties the ring.
    pub(super) fn hear(&self, payload: &str) {
        if let Ok(number) = payload.parse() {
            self.heard.send_replace(number);
        }
    }

    /// Sings on and on.
    pub(super) async fn run(
        self: Arc<Self>,
        journal: Arc<dyn Journal>,
        settings: Live<Settings>,
        health: Arc<Health>,
    ) {
        let mut warned = false;
        let mut late = 0_u32;
        let mut connected = health.connected.subscribe();
        for number in 1.. {
            let resettled = settings.changed();
            let now = settings.snapshot();
            // Nobody hears it before somebody listens.
            let listening = connected.wait_for(|is_listening| *is_listening);
            let is_listening = matches!(timeout(now.canary_every, listening).await, Ok(Ok(_)));
            let song = match is_listening {
                true => self.sing(number, &*journal, &now, &health).await,
                false => Song::Unsent,
            };
            let punctual = song == Song::Heard;
            let usage = journal.queue_usage().await;
            if let Ok(usage) = usage {
                metrics::gauge!("relay_events_notification_queue_usage").set(usage);
            }
            // A database that hangs between two answers delivers nothing either.
            late = match song == Song::Late && usage.is_ok() && health.is_listening() {
                true => late + 1,
                false => 0,
            };
            // Whatever lies between may have lost the connection without a word. Where another
            // brings nothing either, it is the way, and is tried ever more seldom.
            if late >= LATE_TIMES && late.is_power_of_two() {
                health.relisten.notify_waiters();
            }
            if late > LATE_TIMES && !warned {
                warned = true;
                tracing::warn!(
                    "a notification sent to oneself did not arrive: DATABASE_LISTEN_URL seems \
                     to lead through a transaction pooler, or to another database; events \
                     are read by polling"
                );
            }
            let changed = health.punctual.swap(punctual, Ordering::Relaxed) != punctual;
            if changed {
                health.look.notify_one();
            }
            // While it is late, ask more often: polling costs more than asking.
            let pause = match punctual {
                true => now.canary_every,
                false => now.canary_late,
            };
            let _ = timeout(pause, resettled).await;
        }
    }

    /// What became of one notification.
    async fn sing(
        &self,
        number: u64,
        journal: &dyn Journal,
        settings: &Settings,
        health: &Health,
    ) -> Song {
        let mut heard = self.heard.subscribe();
        let sent = Instant::now();
        if journal
            .notify(&self.channel, &[number.to_string()])
            .await
            .is_err()
        {
            return Song::Unsent;
        }
        let arrival = heard.wait_for(|last| *last >= number);
        let arrived = matches!(timeout(settings.canary_late, arrival).await, Ok(Ok(_)));
        if arrived {
            health.set_doorbell_lag(sent.elapsed());
            Song::Heard
        } else {
            metrics::counter!("relay_events_canaries_late_total").increment(1);
            Song::Late
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Song {
    Heard,
    Late,
    /// Nobody listens, or the database did not take it.
    Unsent,
}

/// So many in a row that did not arrive although the database answers: then it is not slow, but
/// something else.
const LATE_TIMES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_node_takes_the_canary_of_another_for_its_own() {
        let [one, other] = [Canary::new(), Canary::new()];
        assert_ne!(one.channel(), other.channel());
    }
}

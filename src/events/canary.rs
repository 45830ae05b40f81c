//! Sends itself a notification now and then, and so knows whether and how late
//! notifications arrive: by the same way, through the same ring, as events do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::health::Health;
use super::journal::Journal;
use super::settings::Settings;
use crate::runtime::{Live, Shutdown};

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

    /// Called by who empties the ring.
    pub(super) fn hear(&self, payload: &str) {
        if let Ok(number) = payload.parse() {
            self.heard.send_replace(number);
        }
    }

    /// Sings until the process stops.
    pub(super) async fn run(
        self: Arc<Self>,
        journal: Arc<dyn Journal>,
        settings: Live<Settings>,
        health: Arc<Health>,
        shutdown: Shutdown,
    ) {
        let sing = async {
            let mut warned = false;
            let mut connected = health.connected.subscribe();
            for number in 1.. {
                let resettled = settings.changed();
                let now = settings.snapshot();
                // Nobody hears it before somebody listens.
                let listening = connected.wait_for(|is_listening| *is_listening);
                let is_listening = matches!(timeout(now.canary_every, listening).await, Ok(Ok(_)));
                let punctual = is_listening && self.sing(number, &*journal, &now, &health).await;
                if health.is_listening() && is_listening && !punctual && !warned {
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
                if let Ok(usage) = journal.queue_usage().await {
                    metrics::gauge!("relay_events_notification_queue_usage").set(usage);
                }
                // While it is late, ask more often: polling costs more than asking.
                let pause = match punctual {
                    true => now.canary_every,
                    false => now.canary_late,
                };
                tokio::select! {
                    () = sleep(pause) => {}
                    () = resettled => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.stopping() => {}
            () = sing => {}
        }
    }

    /// Whether one notification came in time.
    async fn sing(
        &self,
        number: u64,
        journal: &dyn Journal,
        settings: &Settings,
        health: &Health,
    ) -> bool {
        let mut heard = self.heard.subscribe();
        let sent = Instant::now();
        if journal
            .notify(&self.channel, &[number.to_string()])
            .await
            .is_err()
        {
            return false;
        }
        let arrival = heard.wait_for(|last| *last >= number);
        let arrived = matches!(timeout(settings.canary_late, arrival).await, Ok(Ok(_)));
        if arrived {
            health.set_doorbell_lag(sent.elapsed());
        } else {
            metrics::counter!("relay_events_canaries_late_total").increment(1);
        }
        arrived
    }
}

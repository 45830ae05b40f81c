//! Whether this node hears what commits, as the listener sees it and readiness
//! shows it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// How events reach this node now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Hearing {
    /// Not at all: Postgres does not answer. So a node starts.
    #[default]
    Blind,
    /// By looking at the table many times a second.
    Polling,
    /// By notification, as they commit.
    Ringing,
}

/// Shared by the tasks of the event path. Everything in it is a hint of the moment.
#[derive(Debug, Default)]
pub struct Health {
    hearing: Mutex<Hearing>,
    lag_micros: AtomicU64,
    /// It was told that events do not come as they should, and not yet that they do.
    is_alarmed: AtomicBool,
    /// The connection that listens stands.
    pub(super) connected: watch::Sender<bool>,
    /// The last canary came in time.
    pub(super) punctual: AtomicBool,
    /// The ring was full: something was not heard.
    pub(super) overflowed: AtomicBool,
    /// Somebody should look at the table now.
    pub(super) look: Notify,
    /// The connection that listens brings nothing: another may.
    pub(super) relisten: Notify,
}

impl Health {
    pub fn hearing(&self) -> Hearing {
        *self.hearing.lock()
    }

    /// Whether the connection that listens stands, on which notifications come.
    pub fn is_listening(&self) -> bool {
        *self.connected.borrow()
    }

    /// How long the last canary took from its sending to its hearing.
    pub fn doorbell_lag(&self) -> Duration {
        Duration::from_micros(self.lag_micros.load(Ordering::Relaxed))
    }

    pub(super) fn set_hearing(&self, hearing: Hearing) {
        let before = std::mem::replace(&mut *self.hearing.lock(), hearing);
        if before != hearing {
            match hearing {
                // Whoever was told of the trouble is told of its end at the same level.
                Hearing::Ringing if self.is_alarmed.swap(false, Ordering::Relaxed) => {
                    tracing::warn!("events arrive by notification again");
                }
                Hearing::Ringing => tracing::info!("events arrive by notification"),
                // Between the start and the first notification this is how it should be.
                Hearing::Polling
                    if before == Hearing::Blind && !self.is_alarmed.load(Ordering::Relaxed) =>
                {
                    tracing::info!("events are read by polling the table");
                }
                Hearing::Polling => {
                    self.is_alarmed.store(true, Ordering::Relaxed);
                    tracing::warn!("events are read by polling the table");
                }
                Hearing::Blind => {
                    self.is_alarmed.store(true, Ordering::Relaxed);
                    tracing::error!("blind: nobody reads the event stream");
                }
            }
        }
        metrics::gauge!("relay_events_hearing").set(f64::from(hearing as u8));
    }

    /// Nobody reads the stream any more, as it should be when the process ends.
    pub(super) fn stop(&self) {
        *self.hearing.lock() = Hearing::Blind;
        metrics::gauge!("relay_events_hearing").set(f64::from(Hearing::Blind as u8));
    }

    pub(super) fn set_doorbell_lag(&self, lag: Duration) {
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.lag_micros.store(micros, Ordering::Relaxed);
        metrics::histogram!("relay_events_doorbell_lag_seconds").record(lag.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logged;

    #[test]
    fn the_end_of_an_alarm_is_told_at_the_level_of_the_alarm_and_a_start_alarms_nobody() {
        let health = Health::default();
        let said = logged(|| {
            health.set_hearing(Hearing::Polling);
            health.set_hearing(Hearing::Ringing);
        });
        assert!(!said.contains("WARN"), "{said}");
        let said = logged(|| {
            for hearing in [Hearing::Blind, Hearing::Polling, Hearing::Ringing] {
                health.set_hearing(hearing);
            }
        });
        let last = said.lines().last().unwrap();
        assert!(last.contains("WARN"), "{said}");
        assert!(
            last.contains("events arrive by notification again"),
            "{said}"
        );
    }
}

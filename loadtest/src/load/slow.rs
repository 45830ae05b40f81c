//! Whether the relay felt the sockets that do not read: what it counts of them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::ask;

const PATIENCE: Duration = Duration::from_secs(5);

/// How often a relay had too much for a socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct SlowSockets {
    /// Queues that were full: their sessions went on from the database.
    pub overflows: u64,
    /// Sockets that it closed because they did not read.
    pub closed: u64,
}

impl SlowSockets {
    /// All that the relay has counted so far. None when it does not say.
    pub(super) async fn counted_at(admin: SocketAddr) -> Option<Self> {
        let answer = timeout(PATIENCE, ask::admin(admin, "/metrics")).await;
        let (_, metrics) = answer.ok()?.ok()?;
        Some(Self::read(std::str::from_utf8(&metrics).ok()?))
    }

    /// What has not been counted yet is not there.
    fn read(metrics: &str) -> Self {
        let value = |name: &str| {
            let mut values = metrics.lines().filter_map(|line| line.strip_prefix(name));
            values
                .next()
                .and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            overflows: value("relay_events_overflows_total "),
            closed: value("relay_sessions_closed_total{close_reason=\"ConsumerTooSlow\"} "),
        }
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            overflows: self.overflows.saturating_sub(before.overflows),
            closed: self.closed.saturating_sub(before.closed),
        }
    }

    /// In words.
    pub(super) fn told(self) -> String {
        format!(
            "{} times a full queue, {} closed; in no latency",
            self.overflows, self.closed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_others_and_count_from_when_a_run_began() {
        let metrics = "\
            # TYPE relay_events_overflows_total counter\n\
            relay_events_overflows_total 7\n\
            relay_sessions_closed_total{close_reason=\"Normal\"} 9\n\
            relay_sessions_closed_total{close_reason=\"ConsumerTooSlow\"} 2\n";
        let (before, now) = (SlowSockets::read(""), SlowSockets::read(metrics));
        assert_eq!(before, SlowSockets::default());
        let (overflows, closed) = (7, 2);
        assert_eq!(now.since(before), SlowSockets { overflows, closed });
        assert_eq!(now.since(now), SlowSockets::default());
    }
}

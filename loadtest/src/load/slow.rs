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
        Some(Self {
            overflows: figure(admin, OVERFLOWS).await?.unwrap_or(0),
            closed: figure(admin, CLOSED).await?.unwrap_or(0),
        })
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

/// Whether a relay shows its metrics there: it counts its sockets from the beginning.
pub(super) async fn shows_metrics(admin: SocketAddr) -> bool {
    matches!(figure(admin, OPEN).await, Some(Some(_)))
}

async fn figure(admin: SocketAddr, metric: &str) -> Option<Option<u64>> {
    let figure = timeout(PATIENCE, ask::figure(admin, metric)).await;
    figure.ok()?.ok()
}

const OPEN: &str = "relay_sessions_open";
const OVERFLOWS: &str = "relay_events_overflows_total";
const CLOSED: &str = "relay_sessions_closed_total{close_reason=\"ConsumerTooSlow\"}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_before_the_run_and_lost_by_a_restart_is_not_of_it() {
        let counted = |overflows, closed| SlowSockets { overflows, closed };
        assert_eq!(counted(9, 5).since(counted(7, 1)), counted(2, 4));
        assert_eq!(counted(1, 0).since(counted(7, 1)), counted(0, 0));
    }
}

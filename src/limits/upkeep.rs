//! What the limiter does on its own: idle entries leave, blind keys are replaced.

use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::Limits;
use crate::runtime::Shutdown;

impl Limits {
    /// Sweeps until the process stops.
    pub fn start_upkeep(&self, shutdown: &Shutdown) {
        shutdown.spawn_lasting("sweep", self.clone(), |limits| Box::pin(limits.sweep_on()));
    }

    async fn sweep_on(&self) {
        loop {
            let changed = self.inner.settings.changed();
            let every = self.inner.settings.load().tables.sweep_every;
            let _ = timeout(every, changed).await;
            // It goes over all tables, and nobody's calls shall wait behind that.
            let limits = self.clone();
            let swept = spawn_blocking(move || limits.sweep()).await;
            if let Err(Ok(panic)) = swept.map_err(JoinError::try_into_panic) {
                resume_unwind(panic);
            }
        }
    }

    /// One sweep: what is idle leaves, and a blind key that is old enough goes.
    pub fn sweep(&self) {
        let inner = &*self.inner;
        let settings = inner.settings.snapshot();
        let (now, unix_ms) = (inner.clock.tick(), inner.clock.unix_ms());
        let idle_ms = settings.tables.idle_ms();
        let familiar_ms = settings.requests.familiar_ms();
        inner.familiar.set_room_after(familiar_ms);
        let tables = [
            ("ip", &inner.addresses, idle_ms),
            ("did", &inner.accounts, idle_ms),
            ("familiar", &inner.familiar, familiar_ms),
        ];
        for (name, table, idle_ms) in tables {
            let swept = table.sweep(idle_ms, now);
            metrics::gauge!("relay_limits_keys", "table" => name).set(swept.kept as f64);
            metrics::counter!("relay_limits_idle_total", "table" => name)
                .increment(swept.dropped as u64);
        }
        let offenders = inner.penalties.sweep(unix_ms, &settings);
        metrics::gauge!("relay_limits_keys", "table" => "penalties").set(offenders as f64);
        inner
            .good_standing
            .sweep(unix_ms / 1_000, &settings.good_standing);
        inner
            .keys
            .rotate_when_due(settings.tables.blind_key_for, inner.clock.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::{Claim, Clock, Settings};
    use crate::runtime::Live;
    use crate::types::{ClientIp, Did};

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn an_account_is_familiar_for_as_long_as_is_set_and_a_new_key_changes_nothing() {
        let mut settings = Settings::default();
        settings.requests.familiar_for = 6 * HOUR;
        settings.tables.blind_key_for = 4 * HOUR;
        let limits = Limits::new(Live::new(settings), Clock::manual());
        let client = ClientIp::new([192, 0, 2, 1].into());
        let did = Did::parse("did:plc:abc").unwrap();
        limits.note_familiar(client, &did);
        let is_admitted = |claims| {
            let decision = limits.check(limits.arrival(client), claims);
            decision.refused.is_none()
        };
        let is_familiar = || {
            while is_admitted(None) {}
            is_admitted(Some(Claim::of(&did)))
        };
        for hour in 1..=6 {
            limits.clock().advance(HOUR);
            limits.sweep();
            assert_eq!(is_familiar(), hour < 6, "after {hour} hours");
        }
    }
}

//! What the limiter does on its own: idle entries leave, blind keys are replaced.

use super::Limits;
use crate::runtime::Shutdown;

impl Limits {
    /// Sweeps until the process stops.
    pub fn start_upkeep(&self, shutdown: &Shutdown) {
        let (limits, stop) = (self.clone(), shutdown.clone());
        shutdown.spawn_background(async move {
            loop {
                let changed = limits.inner.settings.changed();
                let every = limits.inner.settings.load().tables.sweep_every;
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = changed => {}
                    () = stop.stopping() => return,
                }
                limits.sweep();
            }
        });
    }

    /// One sweep: what is idle leaves, and a blind key that is old enough goes.
    pub fn sweep(&self) {
        let inner = &*self.inner;
        let settings = inner.settings.snapshot();
        let (now, unix_ms) = (inner.clock.tick(), inner.clock.unix_ms());
        let idle_ms = settings.tables.idle_ms();
        inner.familiar.set_room_after(idle_ms);
        let tables = [
            ("ip", &inner.addresses),
            ("did", &inner.accounts),
            ("familiar", &inner.familiar),
        ];
        for (name, table) in tables {
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

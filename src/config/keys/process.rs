//! Pure. `[process]`: the way down.

use super::{Effect, Key, Span, Unit};

pub(super) const KEYS: &[Key] = &[Key {
    name: "process.drain_seconds",
    env: "RELAY_DRAIN_SECONDS",
    effect: Effect::Live,
    doc: "How long a stop (SIGTERM) waits for calls to finish and sockets to move. Keep it \
              under what the service manager allows.",
    setting: &Span {
        at: |c| &mut c.process.drain_grace,
        unit: Unit::Seconds,
        least: 0,
        most: 3600,
    },
}];

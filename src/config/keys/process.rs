//! Pure. `[process]`: the way down.

use super::{Effect, Key, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "process.drain_notice_seconds",
        env: "RELAY_DRAIN_NOTICE_SECONDS",
        effect: Effect::Live,
        doc: "How long a stop (SIGTERM) says that it is not ready and works on, before it drains. \
              For balancers that send a refused connection nowhere else: longer than they take to \
              notice.",
        setting: &Span {
            at: |c| &mut c.process.drain_notice,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
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
    },
];

//! Pure. `[log]`: what is logged, and how.

use super::{Choice, Effect, Explained, Key, Maybe, Number};
use crate::telemetry::{Format, parse_filter};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "log.filter",
        env: "RUST_LOG",
        effect: Effect::Live,
        doc: "What is logged. Not set: \"warn\" in release builds. Identities, addresses and \
              contents are not logged at any level, and what dependencies say never is, since they \
              log what they carry.",
        setting: &Explained {
            kind: Maybe {
                at: |c| &mut c.log.filter,
                allowed: "a level (error, warn, info, debug, trace) or directives such as \"warn,mls_relay=debug\"",
                parse: |filter| parse_filter(filter).is_ok().then(|| filter.to_owned()),
                show: String::clone,
            },
            why: |filter| Some(parse_filter(filter).err()?.to_string()),
        },
    },
    Key {
        name: "log.format",
        env: "LOG_FORMAT",
        effect: Effect::Restart,
        doc: "Text for people, or one JSON object a line.",
        setting: &Choice {
            at: |c| &mut c.log.format,
            options: &[("text", Format::Text), ("json", Format::Json)],
        },
    },
    Key {
        name: "log.lines_per_second",
        env: "LOG_LINES_PER_SECOND",
        effect: Effect::Live,
        doc: "How many lines one place in the code may write in a second, so that neither \
              strangers nor an outage fill the log; relay_log_lines_dropped_total counts the others.",
        setting: &Number {
            at: |c| &mut c.log.lines_per_second,
            least: 1,
            most: 1_000_000,
        },
    },
    Key {
        name: "log.queue_bytes_max",
        env: "LOG_QUEUE_BYTES_MAX",
        effect: Effect::Restart,
        doc: "Bytes of lines that wait until standard error takes them. Over it lines are lost \
              and counted in relay_log_lines_dropped_total, so that whoever should read the log, \
              and does not, holds up no client.",
        setting: &Number {
            at: |c| &mut c.log.queue_bytes_max,
            least: 65_536,
            most: 1 << 30,
        },
    },
];

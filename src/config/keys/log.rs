//! Pure. `[log]`: what is logged, and how.

use crate::config::key::Key;
use crate::config::kinds::{Choice, Maybe, Number, Text};
use crate::telemetry::{Format, parse_filter};

pub(super) const KEYS: &[Key] = keys![
    /// What is logged. Not set: "warn" in release builds. Identities, addresses and contents are
    /// not logged at any level, and what dependencies say never is, since they log what they carry.
    log.filter, RUST_LOG, Live:
        Maybe(FILTER) => log.filter;

    /// Text for people, or one JSON object a line.
    log.format, LOG_FORMAT, Restart:
        Choice(FORMATS) => log.format;

    /// How many lines one place in the code may write in a second, so that neither strangers nor an
    /// outage fill the log; relay_log_lines_dropped_total counts the others.
    log.lines_per_second, LOG_LINES_PER_SECOND, Live:
        Number(1..=1_000_000) => log.lines_per_second;

    /// Bytes of lines that wait until standard error takes them. Over it lines are lost and counted
    /// in relay_log_lines_dropped_total, so that whoever should read the log, and does not, holds
    /// up no client.
    log.queue_bytes_max, LOG_QUEUE_BYTES_MAX, Restart:
        Number(64 << 10..=1 << 30) => log.queue_bytes_max;
];

const FILTER: Text<String> = Text {
    parse: |filter| parse_filter(filter).is_ok().then(|| filter.to_owned()),
    why: |filter| Some(parse_filter(filter).err()?.to_string()),
    ..Text::parsed(
        "a level (error, warn, info, debug, trace) or directives such as \"warn,mls_relay=debug\"",
    )
};

const FORMATS: &[(&str, Format)] = &[("text", Format::Text), ("json", Format::Json)];

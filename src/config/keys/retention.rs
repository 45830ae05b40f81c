//! Pure. `[retention]`: how long things are kept.

use super::{Effect, Key, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "retention.message_ttl_days",
        env: "MESSAGE_TTL_DAYS",
        effect: Effect::Live,
        doc: "Messages older than this are deleted, with their whole day; and so are Welcomes \
              that nobody has confirmed, when the commits after them are gone. A conversation \
              that all have left goes a day after the last message and the last event that it \
              can have.",
        setting: &Number {
            at: |c| &mut c.retention.message_ttl_days,
            least: 1,
            most: 3650,
        },
    },
    Key {
        name: "retention.event_ttl_days",
        env: "EVENT_STREAM_TTL_DAYS",
        effect: Effect::Live,
        doc: "Events older than this are deleted, with their whole day; a client that was away \
              longer starts from what is left.",
        setting: &Number {
            at: |c| &mut c.retention.event_ttl_days,
            least: 1,
            most: 3650,
        },
    },
    Key {
        name: "retention.welcome_ttl_days",
        env: "WELCOME_TTL_DAYS",
        effect: Effect::Live,
        doc: "How long it is known that a device has confirmed its Welcome, whose bytes go at \
              once. One that nobody has confirmed goes when it is so much older than \
              retention.message_ttl_days.",
        setting: &Span {
            at: |c| &mut c.retention.welcome_ttl,
            unit: Unit::Days,
            least: 1,
            most: 365,
        },
    },
    Key {
        name: "retention.consumed_key_package_ttl_hours",
        env: "CONSUMED_KEY_PACKAGE_TTL_HOURS",
        effect: Effect::Live,
        doc: "How long a key package is kept after a Welcome has used it.",
        setting: &Span {
            at: |c| &mut c.retention.consumed_key_package_ttl,
            unit: Unit::Hours,
            least: 1,
            most: 8760,
        },
    },
    Key {
        name: "retention.key_packages_per_device_max",
        env: "MAX_KEY_PACKAGES_PER_DEVICE",
        effect: Effect::Live,
        doc: "Unclaimed key packages of one device; over it, the oldest are deleted.",
        setting: &Number {
            at: |c| &mut c.retention.key_packages_per_device_max,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "retention.interval_minutes",
        env: "RETENTION_INTERVAL_MINUTES",
        effect: Effect::Live,
        doc: "How often old days and Welcomes are looked for.",
        setting: &Span {
            at: |c| &mut c.retention.hourly,
            unit: Unit::Minutes,
            least: 1,
            most: 1440,
        },
    },
    Key {
        name: "retention.statement_timeout_seconds",
        env: "RETENTION_STATEMENT_TIMEOUT_SECONDS",
        effect: Effect::Restart,
        doc: "The longest run of one statement that forgets.",
        setting: &Span {
            at: |c| &mut c.store.forget_timeout,
            unit: Unit::Seconds,
            least: 10,
            most: 86400,
        },
    },
    Key {
        name: "retention.pause_seconds",
        env: "RETENTION_PAUSE_SECONDS",
        effect: Effect::Live,
        doc: "How long retention waits between taking a day out and unlinking it, and before \
              the next day, so that senders do not feel one step on top of the other.",
        setting: &Span {
            at: |c| &mut c.retention.pause,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
        name: "retention.key_package_interval_minutes",
        env: "KEY_PACKAGE_INTERVAL_MINUTES",
        effect: Effect::Live,
        doc: "How often used and surplus key packages are looked for.",
        setting: &Span {
            at: |c| &mut c.retention.key_package_interval,
            unit: Unit::Minutes,
            least: 1,
            most: 1440,
        },
    },
    Key {
        name: "retention.jti_interval_minutes",
        env: "JTI_INTERVAL_MINUTES",
        effect: Effect::Live,
        doc: "How often expired token ids are looked for.",
        setting: &Span {
            at: |c| &mut c.retention.jti_interval,
            unit: Unit::Minutes,
            least: 1,
            most: 1440,
        },
    },
];

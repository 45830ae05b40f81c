//! Pure. `[retention]`: how long things are kept.

use crate::config::key::Key;
use crate::config::kinds::{Number, days, hours, minutes, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// Messages older than this are deleted, with their whole day; and so are Welcomes that nobody
    /// has confirmed, when the commits after them are gone. A conversation that all have left goes
    /// a day after the last message and the last event that it can have.
    retention.message_ttl_days, MESSAGE_TTL_DAYS, Live:
        Number(1..=3650) => retention.message_ttl_days;

    /// Events older than this are deleted, with their whole day; a client that was away longer
    /// starts from what is left.
    retention.event_ttl_days, EVENT_STREAM_TTL_DAYS, Live:
        Number(1..=3650) => retention.event_ttl_days;

    /// How long it is known that a device has confirmed its Welcome, whose bytes go at once. One
    /// that nobody has confirmed goes when it is so much older than retention.message_ttl_days.
    retention.welcome_ttl_days, WELCOME_TTL_DAYS, Live:
        days(1..=365) => retention.welcome_ttl;

    /// How long a report is kept after an admin has dealt with it. One that nobody has dealt with
    /// stays as long as its conversation.
    retention.report_ttl_days, REPORT_TTL_DAYS, Live:
        days(1..=3650) => retention.report_ttl;

    /// How long a key package is kept after a Welcome has used it.
    retention.consumed_key_package_ttl_hours, CONSUMED_KEY_PACKAGE_TTL_HOURS, Live:
        hours(1..=8760) => retention.consumed_key_package_ttl;

    /// Unclaimed key packages of one device: who publishes more is refused. Where it is lowered,
    /// the oldest over it are deleted.
    retention.key_packages_per_device_max, MAX_KEY_PACKAGES_PER_DEVICE, Live:
        Number(1..=10_000) => retention.key_packages_per_device_max;

    /// How often old days, Welcomes and reports are looked for.
    retention.interval_minutes, RETENTION_INTERVAL_MINUTES, Live:
        minutes(1..=1440) => retention.hourly;

    /// The longest run of one statement that forgets.
    retention.statement_timeout_seconds, RETENTION_STATEMENT_TIMEOUT_SECONDS, Restart:
        seconds(10..=86_400) => store.forget_timeout;

    /// How long retention waits between taking a day out and unlinking it, and before the next day,
    /// so that senders do not feel one step on top of the other.
    retention.pause_seconds, RETENTION_PAUSE_SECONDS, Live:
        seconds(0..=600) => retention.pause;

    /// How often used and surplus key packages are looked for.
    retention.key_package_interval_minutes, KEY_PACKAGE_INTERVAL_MINUTES, Live:
        minutes(1..=1440) => retention.key_package_interval;

    /// How often expired token ids are looked for.
    retention.jti_interval_minutes, JTI_INTERVAL_MINUTES, Live:
        minutes(1..=1440) => retention.jti_interval;
];

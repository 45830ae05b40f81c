//! Pure. How long things are kept, and how often that is looked at.

use std::time::Duration;

/// How long things are kept. All of it may change while the relay runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Messages older than this leave with their day; and so do Welcomes that nobody has
    /// confirmed, when the commits that followed are gone: they lead nowhere. A conversation
    /// that all have left goes when neither these nor events can be left of it.
    pub message_ttl_days: u16,
    /// Events older than this leave with their day.
    pub event_ttl_days: u16,
    /// A Welcome, after its device has confirmed it; one that nobody confirms goes when it is
    /// so much older than messages get.
    pub welcome_ttl: Duration,
    /// A report, after an admin has dealt with it.
    pub report_ttl: Duration,
    /// A key package, after a Welcome has used it.
    pub consumed_key_package_ttl: Duration,
    /// Unclaimed key packages of one device; over it, the oldest leave.
    pub key_packages_per_device_max: u32,
    /// How often days, Welcomes and reports are looked at.
    pub hourly: Duration,
    /// Between two steps of forgetting a day, and between two days.
    pub pause: Duration,
    /// How often key packages are looked at.
    pub key_package_interval: Duration,
    /// How often used nonces are looked at.
    pub jti_interval: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_ttl_days: 30,
            event_ttl_days: 7,
            welcome_ttl: Duration::from_secs(7 * 24 * 60 * 60),
            report_ttl: Duration::from_secs(30 * 24 * 60 * 60),
            consumed_key_package_ttl: Duration::from_secs(24 * 60 * 60),
            key_packages_per_device_max: 200,
            hourly: Duration::from_secs(60 * 60),
            pause: Duration::from_secs(5),
            key_package_interval: Duration::from_secs(30 * 60),
            jti_interval: Duration::from_secs(5 * 60),
        }
    }
}

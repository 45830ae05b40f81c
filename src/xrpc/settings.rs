//! Pure. What the calls may be told.

use std::time::Duration;

use crate::store::SeatBounds;

/// Bounds of requests, and what accounts may keep with the relay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Largest body of sendMessage: the largest message in base64, and some room.
    pub message_body_bytes_max: usize,
    /// Largest body of every other call.
    pub body_bytes_max: usize,
    /// Bodies being read or worked on at once, all together; over it, 503.
    pub bodies_bytes_max: usize,
    /// Large answers on their way at once, all together; over it, 503.
    pub answers_bytes_max: usize,
    /// How long a body may stand still, or be behind 1 KiB a second, as it arrives.
    pub body_timeout: Duration,
    /// What a change of a group may give one account; and devices that it has in all.
    pub seats: SeatBounds,
    /// Conversations that hear of one account's new devices in an hour.
    pub new_device_events_max: u32,
    /// Unclaimed key packages of one device.
    pub key_packages_max: u32,
    /// Reports of one member that wait for an admin of one conversation.
    pub open_reports_max: u32,
    /// How long a key package is kept at most.
    pub key_package_life_max: Duration,
    /// Below this many unclaimed key packages a device should publish more.
    pub key_packages_low: u32,
    /// Claims of one account's key packages by one other in a `claims_window`.
    pub claims_per_target: u32,
    pub claims_window: Duration,
    /// Bytes of key packages in the answer to one claim.
    pub claim_bytes_max: usize,
    /// Bytes of one Welcome, counted once for each key package that it is for.
    pub welcome_copies_bytes_max: usize,
    /// The members are told once in this time that a device asks to be added anew.
    pub rejoin_quiet: Duration,
    /// How long the answer to a call with an idempotency key is kept.
    pub idempotency_keep: Duration,
    /// How long such a call may run before another attempt may take its place.
    pub idempotency_lease: Duration,
    /// Where clients open streams, if that is not where they call.
    pub stream_endpoint: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_body_bytes_max: 14 << 20,
            body_bytes_max: 5 << 20,
            bodies_bytes_max: 128 << 20,
            answers_bytes_max: 64 << 20,
            body_timeout: Duration::from_secs(60),
            seats: SeatBounds::default(),
            new_device_events_max: 500,
            key_packages_max: 200,
            open_reports_max: 20,
            key_package_life_max: Duration::from_secs(90 * 24 * 60 * 60),
            key_packages_low: 5,
            claims_per_target: 20,
            claims_window: Duration::from_secs(60 * 60),
            claim_bytes_max: 4 << 20,
            welcome_copies_bytes_max: 16 << 20,
            rejoin_quiet: Duration::from_secs(60 * 60),
            idempotency_keep: Duration::from_secs(24 * 60 * 60),
            idempotency_lease: Duration::from_secs(60),
            stream_endpoint: None,
        }
    }
}

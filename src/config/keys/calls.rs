//! Pure. `[calls]`: bounds of requests, and what accounts may keep with the relay.

use crate::config::key::Key;
use crate::config::kinds::{Maybe, Number, Text, days, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// The largest body of sendMessage: the largest message in base64, and some room.
    calls.message_body_bytes_max, MESSAGE_BODY_BYTES_MAX, Live:
        Number(1 << 10..=64 << 20) => xrpc.message_body_bytes_max;

    /// The largest body of every other call.
    calls.body_bytes_max, BODY_BYTES_MAX, Live:
        Number(1 << 10..=64 << 20) => xrpc.body_bytes_max;

    /// Bodies being read or worked on at once, all together; over it, 503. One account may have an
    /// eighth of it (429), or one body; and less (503) while others hold much, so that some is left
    /// for what is small. While half of it is held, they must come at
    /// limits.scarce_bytes_per_second.
    calls.bodies_bytes_max, BODIES_BYTES_MAX, Live:
        Number(1 << 20..=64 << 30) => xrpc.bodies_bytes_max;

    /// Answers of more than 16 KiB on their way at once, all together; over it, 503. One account
    /// may have an eighth of it (429), or one answer; and less (503) while others hold much, so that
    /// some is left for what is small. While half of it is held, they must be taken at
    /// limits.scarce_bytes_per_second.
    calls.answers_bytes_max, ANSWERS_BYTES_MAX, Live:
        Number(64 << 20..=64 << 30) => xrpc.answers_bytes_max;

    /// How long a body may stand still, or be behind 1 KiB a second, as it arrives.
    calls.body_timeout_seconds, BODY_TIMEOUT_SECONDS, Live:
        seconds(1..=600) => xrpc.body_timeout;

    /// Bytes of key packages in the answer to one getKeyPackages: accounts whose packages no longer
    /// fit are among the missing, and keep them. The first account's always fit.
    calls.claim_bytes_max, CLAIM_BYTES_MAX, Live:
        Number(1 << 16..=64 << 20) => xrpc.claim_bytes_max;

    /// Bytes of one Welcome, counted once for each key package that it is for: each of those
    /// devices has it kept for it until it has joined.
    calls.welcome_copies_bytes_max, WELCOME_COPIES_BYTES_MAX, Live:
        Number(1 << 20..=1 << 30) => xrpc.welcome_copies_bytes_max;

    /// Devices of one account: registered ones, and others that it publishes key packages for; and
    /// its seats in one conversation.
    calls.devices_max, DEVICES_MAX, Live:
        Number(1..=1000) => xrpc.seats.devices_max;

    /// Conversations that an account is in; over it, it founds none, and nobody puts it into one.
    /// Whoever subscribes reads where all of its own stand.
    calls.convos_max, CONVOS_PER_ACCOUNT_MAX, Live:
        Number(1..=1_000_000) => xrpc.seats.convos_max;

    /// Conversations whose Welcomes an account has not confirmed. Over it, others cannot put it
    /// into one more until it has confirmed or left some; over half of it, those who share no
    /// conversation with it that it has joined.
    calls.unconfirmed_convos_max, UNCONFIRMED_CONVOS_MAX, Live:
        Number(1..=100_000) => xrpc.seats.unconfirmed_convos_max;

    /// Bytes of the Welcomes that are kept for one account, all its devices together; strangers
    /// fill at most half of it.
    calls.account_welcome_bytes_max, ACCOUNT_WELCOME_BYTES_MAX, Live:
        Number(1 << 20..=1 << 40) => xrpc.seats.welcome_bytes_max;

    /// Conversations that hear of an account's new devices in an hour, all its devices together:
    /// those of the latest messages.
    calls.new_device_events_max, NEW_DEVICE_EVENTS_MAX, Live:
        Number(1..=10_000) => xrpc.new_device_events_max;

    /// Reports of one member that wait for an admin of one conversation: over it, it is told to
    /// wait. A report has up to 50 KiB.
    calls.open_reports_max, OPEN_REPORTS_MAX, Live:
        Number(1..=10_000) => xrpc.open_reports_max;

    /// How long the answer to a call with an idempotency key is kept.
    calls.idempotency_keep_seconds, IDEMPOTENCY_KEEP_SECONDS, Live:
        seconds(60..=2_592_000) => xrpc.idempotency_keep;

    /// How long such a call may run before another attempt may take its place.
    calls.idempotency_lease_seconds, IDEMPOTENCY_LEASE_SECONDS, Live:
        seconds(10..=600) => xrpc.idempotency_lease;

    /// How long a key package is kept at most.
    calls.key_package_life_max_days, KEY_PACKAGE_LIFE_MAX_DAYS, Live:
        days(1..=3650) => xrpc.key_package_life_max;

    /// Below this many unclaimed key packages a device is told to publish more.
    calls.key_packages_low, KEY_PACKAGES_LOW, Live:
        Number(0..=10_000) => xrpc.key_packages_low;

    /// How often one account may claim key packages of one other in calls.claims_window_seconds, on
    /// all nodes together.
    calls.claims_per_target, CLAIMS_PER_TARGET, Live:
        Number(1..=100_000) => xrpc.claims_per_target;

    /// See calls.claims_per_target.
    calls.claims_window_seconds, CLAIMS_WINDOW_SECONDS, Live:
        seconds(60..=604_800) => xrpc.claims_window;

    /// Members are told once in this time that a device asks to be added anew.
    calls.rejoin_quiet_seconds, REJOIN_QUIET_SECONDS, Live:
        seconds(0..=604_800) => xrpc.rejoin_quiet;

    /// Where clients open streams, if that is not where they call.
    calls.stream_endpoint, STREAM_ENDPOINT, Live:
        Maybe(WSS_URL) => xrpc.stream_endpoint;
];

const WSS_URL: Text<String> = Text {
    parse: |url| url.starts_with("wss://").then(|| url.to_owned()),
    ..Text::parsed("a wss URL")
};

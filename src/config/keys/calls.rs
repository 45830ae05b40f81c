//! Pure. `[calls]`: bounds of requests, and what accounts may keep with the relay.

use super::{Effect, Key, Maybe, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "calls.message_body_bytes_max",
        env: "MESSAGE_BODY_BYTES_MAX",
        effect: Effect::Live,
        doc: "The largest body of sendMessage: the largest message in base64, and some room.",
        setting: &Number {
            at: |c| &mut c.xrpc.message_body_bytes_max,
            least: 1024,
            most: 67108864,
        },
    },
    Key {
        name: "calls.body_bytes_max",
        env: "BODY_BYTES_MAX",
        effect: Effect::Live,
        doc: "The largest body of every other call.",
        setting: &Number {
            at: |c| &mut c.xrpc.body_bytes_max,
            least: 1024,
            most: 67108864,
        },
    },
    Key {
        name: "calls.bodies_bytes_max",
        env: "BODIES_BYTES_MAX",
        effect: Effect::Live,
        doc: "Bodies being read or worked on at once, all together; over it, 503. One account may \
              have an eighth of it (429), or one body. While half of it is held, they must come at \
              limits.scarce_bytes_per_second.",
        setting: &Number {
            at: |c| &mut c.xrpc.bodies_bytes_max,
            least: 1048576,
            most: 68719476736,
        },
    },
    Key {
        name: "calls.answers_bytes_max",
        env: "ANSWERS_BYTES_MAX",
        effect: Effect::Live,
        doc: "Answers of more than 16 KiB on their way at once, all together; over it, 503. One \
              account may have an eighth of it (429), or one answer. While half of it is held, \
              they must be taken at limits.scarce_bytes_per_second.",
        setting: &Number {
            at: |c| &mut c.xrpc.answers_bytes_max,
            least: 67108864,
            most: 68719476736,
        },
    },
    Key {
        name: "calls.body_timeout_seconds",
        env: "BODY_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long a body may stand still, or be behind 1 KiB a second, as it arrives.",
        setting: &Span {
            at: |c| &mut c.xrpc.body_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 600,
        },
    },
    Key {
        name: "calls.claim_bytes_max",
        env: "CLAIM_BYTES_MAX",
        effect: Effect::Live,
        doc: "Bytes of key packages in the answer to one getKeyPackages: accounts whose packages no \
              longer fit are among the missing, and keep them. The first account's always fit.",
        setting: &Number {
            at: |c| &mut c.xrpc.claim_bytes_max,
            least: 1 << 16,
            most: 64 << 20,
        },
    },
    Key {
        name: "calls.welcome_copies_bytes_max",
        env: "WELCOME_COPIES_BYTES_MAX",
        effect: Effect::Live,
        doc: "Bytes of one Welcome, counted once for each key package that it is for: each of those \
              devices has it kept for it until it has joined.",
        setting: &Number {
            at: |c| &mut c.xrpc.welcome_copies_bytes_max,
            least: 1 << 20,
            most: 1 << 30,
        },
    },
    Key {
        name: "calls.devices_max",
        env: "DEVICES_MAX",
        effect: Effect::Live,
        doc: "Devices of one account: registered ones, and others that it publishes key packages \
              for; and its seats in one conversation.",
        setting: &Number {
            at: |c| &mut c.xrpc.devices_max,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "calls.unconfirmed_convos_max",
        env: "UNCONFIRMED_CONVOS_MAX",
        effect: Effect::Live,
        doc: "Conversations whose Welcomes an account has not confirmed. Over it, others cannot put it \
              into one more until it has confirmed or left some.",
        setting: &Number {
            at: |c| &mut c.xrpc.unconfirmed_convos_max,
            least: 1,
            most: 100_000,
        },
    },
    Key {
        name: "calls.account_welcome_bytes_max",
        env: "ACCOUNT_WELCOME_BYTES_MAX",
        effect: Effect::Live,
        doc: "Bytes of the Welcomes that are kept for one account, all its devices together.",
        setting: &Number {
            at: |c| &mut c.xrpc.account_welcome_bytes_max,
            least: 1 << 20,
            most: 1 << 40,
        },
    },
    Key {
        name: "calls.new_device_events_max",
        env: "NEW_DEVICE_EVENTS_MAX",
        effect: Effect::Live,
        doc: "Conversations that hear of an account's new devices in an hour, all its devices \
              together: those of the latest messages.",
        setting: &Number {
            at: |c| &mut c.xrpc.new_device_events_max,
            least: 1,
            most: 10_000,
        },
    },
    Key {
        name: "calls.idempotency_keep_seconds",
        env: "IDEMPOTENCY_KEEP_SECONDS",
        effect: Effect::Live,
        doc: "How long the answer to a call with an idempotency key is kept.",
        setting: &Span {
            at: |c| &mut c.xrpc.idempotency_keep,
            unit: Unit::Seconds,
            least: 60,
            most: 2592000,
        },
    },
    Key {
        name: "calls.idempotency_lease_seconds",
        env: "IDEMPOTENCY_LEASE_SECONDS",
        effect: Effect::Live,
        doc: "How long such a call may run before another attempt may take its place.",
        setting: &Span {
            at: |c| &mut c.xrpc.idempotency_lease,
            unit: Unit::Seconds,
            least: 10,
            most: 600,
        },
    },
    Key {
        name: "calls.key_package_life_max_days",
        env: "KEY_PACKAGE_LIFE_MAX_DAYS",
        effect: Effect::Live,
        doc: "How long a key package is kept at most.",
        setting: &Span {
            at: |c| &mut c.xrpc.key_package_life_max,
            unit: Unit::Days,
            least: 1,
            most: 3650,
        },
    },
    Key {
        name: "calls.key_packages_low",
        env: "KEY_PACKAGES_LOW",
        effect: Effect::Live,
        doc: "Below this many unclaimed key packages a device is told to publish more.",
        setting: &Number {
            at: |c| &mut c.xrpc.key_packages_low,
            least: 0,
            most: 10000,
        },
    },
    Key {
        name: "calls.claims_per_target",
        env: "CLAIMS_PER_TARGET",
        effect: Effect::Live,
        doc: "How often one account may claim key packages of one other in \
              calls.claims_window_seconds, on all nodes together.",
        setting: &Number {
            at: |c| &mut c.xrpc.claims_per_target,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "calls.claims_window_seconds",
        env: "CLAIMS_WINDOW_SECONDS",
        effect: Effect::Live,
        doc: "See calls.claims_per_target.",
        setting: &Span {
            at: |c| &mut c.xrpc.claims_window,
            unit: Unit::Seconds,
            least: 60,
            most: 604800,
        },
    },
    Key {
        name: "calls.rejoin_quiet_seconds",
        env: "REJOIN_QUIET_SECONDS",
        effect: Effect::Live,
        doc: "Members are told once in this time that a device asks to be added anew.",
        setting: &Span {
            at: |c| &mut c.xrpc.rejoin_quiet,
            unit: Unit::Seconds,
            least: 0,
            most: 604800,
        },
    },
    Key {
        name: "calls.stream_endpoint",
        env: "STREAM_ENDPOINT",
        effect: Effect::Live,
        doc: "Where clients open streams, if that is not where they call.",
        setting: &Maybe {
            at: |c| &mut c.xrpc.stream_endpoint,
            allowed: "a wss URL",
            parse: |url| url.starts_with("wss://").then(|| url.to_owned()),
            show: String::clone,
        },
    },
];

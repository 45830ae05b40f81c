//! Pure. `[session]`: how patient a subscription's socket is.

use super::{Effect, Key, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "session.ping_seconds",
        env: "PING_SECONDS",
        effect: Effect::Live,
        doc: "A client that says nothing for so long is pinged.",
        setting: &Span {
            at: |c| &mut c.session.ping_after,
            unit: Unit::Seconds,
            least: 5,
            most: 3600,
        },
    },
    Key {
        name: "session.silence_seconds",
        env: "SILENCE_SECONDS",
        effect: Effect::Live,
        doc: "One that has said nothing for so long, pings or not, is gone, unless it has taken what \
              had to wait for it.",
        setting: &Span {
            at: |c| &mut c.session.silence_max,
            unit: Unit::Seconds,
            least: 10,
            most: 7200,
        },
    },
    Key {
        name: "session.write_timeout_seconds",
        env: "WRITE_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long a client may take nothing of what is written to it, or be behind 1 KiB a \
              second.",
        setting: &Span {
            at: |c| &mut c.session.write_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 600,
        },
    },
    Key {
        name: "session.close_timeout_ms",
        env: "CLOSE_TIMEOUT_MS",
        effect: Effect::Live,
        doc: "How long it may take to answer a close frame.",
        setting: &Span {
            at: |c| &mut c.session.close_timeout,
            unit: Unit::Millis,
            least: 100,
            most: 60000,
        },
    },
    Key {
        name: "session.last_messages_max",
        env: "LAST_MESSAGES_MAX",
        effect: Effect::Live,
        doc: "Messages that are read from a client that was told to go and has not answered; what \
              more it sends is dropped unread.",
        setting: &Number {
            at: |c| &mut c.session.last_messages_max,
            least: 1,
            most: 1000000,
        },
    },
    Key {
        name: "session.upgrade_timeout_seconds",
        env: "UPGRADE_TIMEOUT_SECONDS",
        effect: Effect::NewConnections,
        doc: "How long the upgrade may take after it was granted.",
        setting: &Span {
            at: |c| &mut c.session.upgrade_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 60,
        },
    },
    Key {
        name: "session.frame_bytes_max",
        env: "FRAME_BYTES_MAX",
        effect: Effect::NewConnections,
        doc: "The largest frame and the largest message that a client may send on a socket.",
        setting: &Number {
            at: |c| &mut c.session.frame_len_max,
            least: 256,
            most: 65536,
        },
    },
    Key {
        name: "session.fragments_max",
        env: "FRAGMENTS_MAX",
        effect: Effect::NewConnections,
        doc: "In how many frames a client may send one message; one that needs more is closed.",
        setting: &Number {
            at: |c| &mut c.session.fragments_max,
            least: 1,
            most: 4096,
        },
    },
    Key {
        name: "session.drain_window_seconds",
        env: "DRAIN_WINDOW_SECONDS",
        effect: Effect::Live,
        doc: "The time over which a stop spreads its farewells to sockets. Shorter than \
              process.drain_seconds.",
        setting: &Span {
            at: |c| &mut c.session.drain_window,
            unit: Unit::Seconds,
            least: 0,
            most: 3600,
        },
    },
    Key {
        name: "session.reconnect_spread_seconds",
        env: "RECONNECT_SPREAD_SECONDS",
        effect: Effect::Live,
        doc: "A client that was sent away comes back after a random time up to this.",
        setting: &Span {
            at: |c| &mut c.session.reconnect_spread,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
];

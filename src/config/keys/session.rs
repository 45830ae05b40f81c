//! Pure. `[session]`: how patient a subscription's socket is.

use crate::config::key::Key;
use crate::config::kinds::{Number, millis, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// A client that says nothing for so long is pinged.
    session.ping_seconds, PING_SECONDS, Live:
        seconds(5..=3600) => session.ping_after;

    /// One that has said nothing for so long, pings or not, is gone, unless it has taken what had
    /// to wait for it.
    session.silence_seconds, SILENCE_SECONDS, Live:
        seconds(10..=7200) => session.silence_max;

    /// How long a client may take nothing of what is written to it, or be behind 1 KiB a second.
    session.write_timeout_seconds, WRITE_TIMEOUT_SECONDS, Live:
        seconds(1..=600) => session.write_timeout;

    /// How long it may take to answer a close frame.
    session.close_timeout_ms, CLOSE_TIMEOUT_MS, Live:
        millis(100..=60_000) => session.close_timeout;

    /// Messages that are read from a client that was told to go and has not answered; what more it
    /// sends is dropped unread.
    session.last_messages_max, LAST_MESSAGES_MAX, Live:
        Number(1..=1_000_000) => session.last_messages_max;

    /// How long the upgrade may take after it was granted.
    session.upgrade_timeout_seconds, UPGRADE_TIMEOUT_SECONDS, NewConnections:
        seconds(1..=60) => session.upgrade_timeout;

    /// The largest frame and the largest message that a client may send on a socket.
    session.frame_bytes_max, FRAME_BYTES_MAX, NewConnections:
        Number(256..=64 << 10) => session.frame_len_max;

    /// In how many frames a client may send one message; one that needs more is closed.
    session.fragments_max, FRAGMENTS_MAX, NewConnections:
        Number(1..=4096) => session.fragments_max;

    /// The time over which a stop spreads its farewells to sockets. Shorter than
    /// process.drain_seconds.
    session.drain_window_seconds, DRAIN_WINDOW_SECONDS, Live:
        seconds(0..=3600) => session.drain_window;

    /// A client that was sent away comes back after a random time up to this.
    session.reconnect_spread_seconds, RECONNECT_SPREAD_SECONDS, Live:
        seconds(0..=600) => session.reconnect_spread;
];

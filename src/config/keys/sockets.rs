//! Pure. `[limits]`, continued: subscriptions, and the frames that come in on them.

use super::{Effect, Key, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "limits.sockets_per_ip",
        env: "SOCKETS_PER_IP",
        effect: Effect::Live,
        doc: "Subscriptions open at once from one address.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.per_ip,
            least: 1,
            most: 2000000,
        },
    },
    Key {
        name: "limits.sockets_per_did",
        env: "SOCKETS_PER_DID",
        effect: Effect::Live,
        doc: "Subscriptions open at once of one account.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.per_did,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "limits.upgrades_per_ip",
        env: "UPGRADES_PER_IP",
        effect: Effect::Live,
        doc: "New subscriptions from one address in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.upgrades_per_ip,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.upgrades_per_did",
        env: "UPGRADES_PER_DID",
        effect: Effect::Live,
        doc: "New subscriptions of one account in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.upgrades_per_did,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.frames_per_minute",
        env: "FRAMES_PER_MINUTE",
        effect: Effect::Live,
        doc: "Frames from one socket in any minute that carry something.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.frames,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.frame_bytes_per_minute",
        env: "FRAME_BYTES_PER_MINUTE",
        effect: Effect::Live,
        doc: "Bytes from one socket in a minute, on average.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.bytes,
            least: 1024,
            most: 4294967295,
        },
    },
    Key {
        name: "limits.control_frames_per_minute",
        env: "CONTROL_FRAMES_PER_MINUTE",
        effect: Effect::Live,
        doc: "Pings and pongs from one socket in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.control_frames,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.did_share",
        env: "SOCKET_DID_SHARE",
        effect: Effect::Live,
        doc: "How many sockets' worth of frames and bytes one account has.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.did_share,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.ip_share",
        env: "SOCKET_IP_SHARE",
        effect: Effect::Live,
        doc: "How many sockets' worth of frames and bytes one address has.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.ip_share,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.frame_strikes",
        env: "FRAME_STRIKES",
        effect: Effect::Live,
        doc: "Refused frames in any minute until the socket is closed.",
        setting: &Number {
            at: |c| &mut c.limits.sockets.strikes,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.sockets_full_retry_seconds",
        env: "SOCKETS_FULL_RETRY_SECONDS",
        effect: Effect::Live,
        doc: "How long a client with too many sockets is told to wait for one to close.",
        setting: &Span {
            at: |c| &mut c.limits.sockets.full_retry_after,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
];

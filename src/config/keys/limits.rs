//! Pure. `[limits]`: how much of the relay one peer may have.

use super::{Effect, Key, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "limits.connections_total",
        env: "CONNECTIONS_TOTAL",
        effect: Effect::Live,
        doc: "Connections open at once on this node; over it, new ones are closed before TLS. Fewer, \
              where the open-files limit has no room for so many and for all else: connections to \
              Postgres and of operators (edge.admin_connections_max), three sockets for each \
              lookup of auth.plc_lookups_max, auth.web_lookups_max and appview.questions_max, and \
              128 others.",
        setting: &Number {
            at: |c| &mut c.limits.connections.total,
            least: 1,
            most: 2000000,
        },
    },
    Key {
        name: "limits.connections_per_ip",
        env: "CONNECTIONS_PER_IP",
        effect: Effect::Live,
        doc: "Connections open at once from one address (IPv6: one /64). A carrier puts thousands \
              of phones behind one.",
        setting: &Number {
            at: |c| &mut c.limits.connections.per_ip,
            least: 1,
            most: 2000000,
        },
    },
    Key {
        name: "limits.connections_share_percent",
        env: "CONNECTIONS_SHARE_PERCENT",
        effect: Effect::Live,
        doc: "Connections open at once from one address, in percent of the free places of this node: \
              this part of them while all are free, half of it when half are, and so on, so that \
              newcomers find some. One IPv6 /32 may hold 32 times as many.",
        setting: &Number {
            at: |c| &mut c.limits.connections.share_percent,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "limits.connections_per_ip_per_second",
        env: "CONNECTIONS_PER_IP_PER_SECOND",
        effect: Effect::Live,
        doc: "New connections in any second from one address.",
        setting: &Number {
            at: |c| &mut c.limits.connections.per_ip_per_second,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.handshakes_max",
        env: "HANDSHAKES_MAX",
        effect: Effect::Live,
        doc: "TLS handshakes under way; each costs about a millisecond of a core. One address has a \
              quarter of them, one in the penalty box a sixteenth.",
        setting: &Number {
            at: |c| &mut c.limits.connections.handshakes,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "limits.handshakes_network_percent",
        env: "HANDSHAKES_NETWORK_PERCENT",
        effect: Effect::Live,
        doc: "How many of them one IPv6 /32 may have, in percent. Raise it where nearly all \
              clients come from one carrier; 100 is no bound.",
        setting: &Number {
            at: |c| &mut c.limits.connections.handshakes_network_percent,
            least: 1,
            most: 100,
        },
    },
    Key {
        name: "limits.ip_per_minute",
        env: "RATE_LIMIT_IP_PER_MINUTE",
        effect: Effect::Live,
        doc: "Requests in any minute from one address that proved nothing. A request whose token \
              verifies gives its place back.",
        setting: &Number {
            at: |c| &mut c.limits.requests.per_ip,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.ip_burst",
        env: "IP_RATE_BURST",
        effect: Effect::Live,
        doc: "How many more pass before the first refusal.",
        setting: &Number {
            at: |c| &mut c.limits.requests.burst,
            least: 0,
            most: 65535,
        },
    },
    Key {
        name: "limits.verifications_per_minute",
        env: "VERIFICATIONS_PER_MINUTE",
        effect: Effect::Live,
        doc: "Tokens of one address that are checked in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.requests.verifications,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.verification_queue_per_ip",
        env: "VERIFICATION_QUEUE_PER_IP",
        effect: Effect::Live,
        doc: "Requests of one address that bear tokens and wait at once while tokens of that \
              address are being checked, when the window is full of those.",
        setting: &Number {
            at: |c| &mut c.limits.requests.waiting_per_ip,
            least: 0,
            most: 100000,
        },
    },
    Key {
        name: "limits.verification_queue_total",
        env: "VERIFICATION_QUEUE_TOTAL",
        effect: Effect::Live,
        doc: "How many may wait so on the whole node.",
        setting: &Number {
            at: |c| &mut c.limits.requests.waiting_total,
            least: 0,
            most: 1000000,
        },
    },
    Key {
        name: "limits.verification_wait_ms",
        env: "VERIFICATION_WAIT_MS",
        effect: Effect::Live,
        doc: "How long one waits so.",
        setting: &Span {
            at: |c| &mut c.limits.requests.wait_for,
            unit: Unit::Millis,
            least: 0,
            most: 60000,
        },
    },
    Key {
        name: "limits.familiar_seconds",
        env: "FAMILIAR_SECONDS",
        effect: Effect::Live,
        doc: "How long an account that proved itself from an address is known there; not longer than \
              until the key of BLIND_KEY_HOURS has been replaced twice.",
        setting: &Span {
            at: |c| &mut c.limits.requests.familiar_for,
            unit: Unit::Seconds,
            least: 0,
            most: 86400,
        },
    },
    Key {
        name: "limits.familiar_per_minute",
        env: "FAMILIAR_PER_MINUTE",
        effect: Effect::Live,
        doc: "What such an account may still ask for in any minute when its neighbours have spent \
              the window.",
        setting: &Number {
            at: |c| &mut c.limits.requests.familiar,
            least: 0,
            most: 65535,
        },
    },
    Key {
        name: "limits.send_message",
        env: "RATE_LIMIT_SEND_MESSAGE",
        effect: Effect::Live,
        doc: "An account's sendMessage calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.send_message,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.send_ephemeral",
        env: "RATE_LIMIT_SEND_EPHEMERAL",
        effect: Effect::Live,
        doc: "An account's sendEphemeral calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.send_ephemeral,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.publish_key_package",
        env: "RATE_LIMIT_PUBLISH_KEY_PACKAGE",
        effect: Effect::Live,
        doc: "An account's publishKeyPackage, publishKeyPackages and registerDevice calls in any \
              minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.publish_key_package,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.add_members",
        env: "RATE_LIMIT_ADD_MEMBERS",
        effect: Effect::Live,
        doc: "An account's addMembers calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.add_members,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.remove_member",
        env: "RATE_LIMIT_REMOVE_MEMBER",
        effect: Effect::Live,
        doc: "An account's removeMember calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.remove_member,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.create_convo",
        env: "RATE_LIMIT_CREATE_CONVO",
        effect: Effect::Live,
        doc: "An account's createConvo calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.create_convo,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.report_member",
        env: "RATE_LIMIT_REPORT_MEMBER",
        effect: Effect::Live,
        doc: "An account's reportMember calls in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.report_member,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.did_default",
        env: "RATE_LIMIT_DID_DEFAULT",
        effect: Effect::Live,
        doc: "Each other call of an account in any minute.",
        setting: &Number {
            at: |c| &mut c.limits.calls.default,
            least: 1,
            most: 65535,
        },
    },
    Key {
        name: "limits.scarce_bytes_per_second",
        env: "SCARCE_BYTES_PER_SECOND",
        effect: Effect::Live,
        doc: "The least pace at which bodies must come while half of calls.bodies_bytes_max is \
              held, and at which answers must be taken while half of calls.answers_bytes_max is. \
              Otherwise it is 1 KiB a second.",
        setting: &Number {
            at: |c| &mut c.limits.scarce_bytes_per_second,
            least: 1024,
            most: 16777216,
        },
    },
    Key {
        name: "limits.body_bytes_per_minute",
        env: "BODY_BYTES_PER_MINUTE",
        effect: Effect::Live,
        doc: "Bytes of the bodies of all calls of an account in a minute, on average: what it can \
              make the relay store. At least the largest body.",
        setting: &Number {
            at: |c| &mut c.limits.calls.body_bytes,
            least: 1024,
            most: 4294967295,
        },
    },
];

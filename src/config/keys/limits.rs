//! Pure. `[limits]`: how much of the relay one peer may have.

use super::NETWORK;
use crate::config::key::Key;
use crate::config::kinds::{Flag, List, Number, Rules, hours, millis, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// Connections open at once on this node; over it, new ones are closed before TLS. Fewer, where
    /// the open-files limit has no room for so many and for all else: connections to Postgres and
    /// of operators (edge.admin_connections_max), three sockets for each lookup of
    /// auth.plc_lookups_max, auth.web_lookups_max and appview.questions_max, and 128 others.
    limits.connections_total, CONNECTIONS_TOTAL, Live:
        Number(1..=2_000_000) => limits.connections.total;

    /// Connections open at once from one address (IPv6: one /64). A carrier puts thousands of
    /// phones behind one.
    limits.connections_per_ip, CONNECTIONS_PER_IP, Live:
        Number(1..=2_000_000) => limits.connections.per_ip;

    /// Connections open at once from one address, in percent of the free places of this node: this
    /// part of them while all are free, half of it when half are, and so on, so that newcomers find
    /// some. One IPv6 /32 may hold 32 times as many.
    limits.connections_share_percent, CONNECTIONS_SHARE_PERCENT, Live:
        Number(1..=10_000) => limits.connections.share_percent;

    /// New connections in any second from one address.
    limits.connections_per_ip_per_second, CONNECTIONS_PER_IP_PER_SECOND, Live:
        Number(1..=u16::MAX) => limits.connections.per_ip_per_second;

    /// TLS handshakes under way; each costs about a millisecond of a core. One address has a
    /// quarter of them, one in the penalty box a sixteenth.
    limits.handshakes_max, HANDSHAKES_MAX, Live:
        Number(1..=100_000) => limits.connections.handshakes;

    /// How many of them one IPv6 /32 may have, in percent. Raise it where nearly all clients come
    /// from one carrier; 100 is no bound.
    limits.handshakes_network_percent, HANDSHAKES_NETWORK_PERCENT, Live:
        Number(1..=100) => limits.connections.handshakes_network_percent;

    /// Frames of one HTTP/2 connection in a minute, but for those that bring 1 KiB of a body or
    /// more; over it, the connection is closed. Those of trusted proxies have no such bound.
    limits.http2_frames_per_minute, HTTP2_FRAMES_PER_MINUTE, Live:
        Number(1_000..=u32::MAX) => limits.connections.http2_frames;

    /// Requests in any minute from one address that proved nothing. A request whose token verifies
    /// gives its place back.
    limits.ip_per_minute, RATE_LIMIT_IP_PER_MINUTE, Live:
        Number(1..=u16::MAX) => limits.requests.per_ip;

    /// How many more pass before the first refusal.
    limits.ip_burst, IP_RATE_BURST, Live:
        Number(0..=u16::MAX) => limits.requests.burst;

    /// Tokens of one address that are checked in any minute.
    limits.verifications_per_minute, VERIFICATIONS_PER_MINUTE, Live:
        Number(1..=u16::MAX) => limits.requests.verifications;

    /// Requests of one address that bear tokens and wait at once while tokens of that address are
    /// being checked, when the window is full of those.
    limits.verification_queue_per_ip, VERIFICATION_QUEUE_PER_IP, Live:
        Number(0..=100_000) => limits.requests.waiting_per_ip;

    /// How many may wait so on the whole node.
    limits.verification_queue_total, VERIFICATION_QUEUE_TOTAL, Live:
        Number(0..=1_000_000) => limits.requests.waiting_total;

    /// How long one waits so.
    limits.verification_wait_ms, VERIFICATION_WAIT_MS, Live:
        millis(0..=60_000) => limits.requests.wait_for;

    /// How long an account that proved itself from an address is known there; not longer than until
    /// the key of BLIND_KEY_HOURS has been replaced twice.
    limits.familiar_seconds, FAMILIAR_SECONDS, Live:
        seconds(0..=86_400) => limits.requests.familiar_for;

    /// What such an account may still ask for in any minute when its neighbours have spent the
    /// window.
    limits.familiar_per_minute, FAMILIAR_PER_MINUTE, Live:
        Number(0..=u16::MAX) => limits.requests.familiar;

    /// An account's sendMessage calls in any minute.
    limits.send_message, RATE_LIMIT_SEND_MESSAGE, Live:
        Number(1..=u16::MAX) => limits.calls.send_message;

    /// An account's sendEphemeral calls in any minute.
    limits.send_ephemeral, RATE_LIMIT_SEND_EPHEMERAL, Live:
        Number(1..=u16::MAX) => limits.calls.send_ephemeral;

    /// An account's publishKeyPackage, publishKeyPackages and registerDevice calls in any minute.
    limits.publish_key_package, RATE_LIMIT_PUBLISH_KEY_PACKAGE, Live:
        Number(1..=u16::MAX) => limits.calls.publish_key_package;

    /// An account's addMembers calls in any minute.
    limits.add_members, RATE_LIMIT_ADD_MEMBERS, Live:
        Number(1..=u16::MAX) => limits.calls.add_members;

    /// An account's removeMember calls in any minute.
    limits.remove_member, RATE_LIMIT_REMOVE_MEMBER, Live:
        Number(1..=u16::MAX) => limits.calls.remove_member;

    /// An account's createConvo calls in any minute.
    limits.create_convo, RATE_LIMIT_CREATE_CONVO, Live:
        Number(1..=u16::MAX) => limits.calls.create_convo;

    /// An account's reportMember calls in any minute.
    limits.report_member, RATE_LIMIT_REPORT_MEMBER, Live:
        Number(1..=u16::MAX) => limits.calls.report_member;

    /// Each other call of an account in any minute.
    limits.did_default, RATE_LIMIT_DID_DEFAULT, Live:
        Number(1..=u16::MAX) => limits.calls.default;

    /// The least pace at which bodies must come while half of calls.bodies_bytes_max is held, and
    /// at which answers must be taken while half of calls.answers_bytes_max is. Otherwise it is 1
    /// KiB a second.
    limits.scarce_bytes_per_second, SCARCE_BYTES_PER_SECOND, Live:
        Number(1 << 10..=16 << 20) => limits.scarce_bytes_per_second;

    /// Bytes of the bodies of all calls of an account in a minute, on average. At least the largest
    /// body.
    limits.body_bytes_per_minute, BODY_BYTES_PER_MINUTE, Live:
        Number(1 << 10..=u32::MAX) => limits.calls.body_bytes;

    /// And in a day: what an account can make the relay store, day after day. It comes back evenly,
    /// so that whoever has spent it waits for the size of the next body, and not until midnight.
    /// What may come in a minute may come in any case. Remembered of an account that sends nothing
    /// until the key of BLIND_KEY_HOURS has been replaced twice.
    limits.body_bytes_per_day, BODY_BYTES_PER_DAY, Live:
        Number(1 << 10..=1 << 50) => limits.calls.body_bytes_day;

    /// Bytes of answers over 16 KiB to an account in a minute, on average, and of the messages in
    /// its subscriptions' frames (`hydrate`). Whoever has taken more waits until that has come
    /// back.
    limits.answer_bytes_per_minute, ANSWER_BYTES_PER_MINUTE, Live:
        Number(1 << 10..=u32::MAX) => limits.calls.answer_bytes;

    /// And in a day: what an account can cost in traffic, day after day. It comes back evenly. What
    /// may be taken in a minute may be taken in any case.
    limits.answer_bytes_per_day, ANSWER_BYTES_PER_DAY, Live:
        Number(1 << 10..=1 << 50) => limits.calls.answer_bytes_day;

    /// Subscriptions open at once from one address.
    limits.sockets_per_ip, SOCKETS_PER_IP, Live:
        Number(1..=2_000_000) => limits.sockets.per_ip;

    /// Subscriptions open at once of one account.
    limits.sockets_per_did, SOCKETS_PER_DID, Live:
        Number(1..=10_000) => limits.sockets.per_did;

    /// New subscriptions from one address in any minute.
    limits.upgrades_per_ip, UPGRADES_PER_IP, Live:
        Number(1..=u16::MAX) => limits.sockets.upgrades_per_ip;

    /// New subscriptions of one account in any minute.
    limits.upgrades_per_did, UPGRADES_PER_DID, Live:
        Number(1..=u16::MAX) => limits.sockets.upgrades_per_did;

    /// Frames from one socket in any minute that carry something.
    limits.frames_per_minute, FRAMES_PER_MINUTE, Live:
        Number(1..=u16::MAX) => limits.sockets.frames;

    /// Bytes from one socket in a minute, on average.
    limits.frame_bytes_per_minute, FRAME_BYTES_PER_MINUTE, Live:
        Number(1 << 10..=u32::MAX) => limits.sockets.bytes;

    /// Pings and pongs from one socket in any minute.
    limits.control_frames_per_minute, CONTROL_FRAMES_PER_MINUTE, Live:
        Number(1..=u16::MAX) => limits.sockets.control_frames;

    /// How many sockets' worth of frames and bytes one account has.
    limits.did_share, SOCKET_DID_SHARE, Live:
        Number(1..=u16::MAX) => limits.sockets.did_share;

    /// How many sockets' worth of frames and bytes one address has.
    limits.ip_share, SOCKET_IP_SHARE, Live:
        Number(1..=u16::MAX) => limits.sockets.ip_share;

    /// Refused frames in any minute until the socket is closed.
    limits.frame_strikes, FRAME_STRIKES, Live:
        Number(1..=u16::MAX) => limits.sockets.strikes;

    /// How long a client with too many sockets is told to wait for one to close.
    limits.sockets_full_retry_seconds, SOCKETS_FULL_RETRY_SECONDS, Live:
        seconds(1..=3600) => limits.sockets.full_retry_after;

    /// Refusals within limits.penalty_window_seconds that lead into the penalty box.
    limits.penalty_strikes, PENALTY_STRIKES, Live:
        Number(1..=u16::MAX) => limits.penalties.strikes;

    /// The time within which those refusals count together.
    limits.penalty_window_seconds, PENALTY_WINDOW_SECONDS, Live:
        seconds(1..=3600) => limits.penalties.strikes_within;

    /// The first stay in the penalty box; each further one is twice as long.
    limits.penalty_first_seconds, PENALTY_FIRST_SECONDS, Live:
        seconds(1..=86_400) => limits.penalties.first;

    /// The longest stay in the penalty box. A day at most: who stays is known by a hash under the
    /// key of the day, and only today's and yesterday's are kept.
    limits.penalty_most_seconds, PENALTY_MOST_SECONDS, Live:
        seconds(1..=86_400) => limits.penalties.most;

    /// Good conduct after which the next stay is one step shorter. With the key of the day, at
    /// midnight UTC, steps are forgotten anyway.
    limits.penalty_forgiven_seconds, PENALTY_FORGIVEN_SECONDS, Live:
        seconds(1..=86_400) => limits.penalties.forgiven_after;

    /// How often the nodes tell each other who is in the box.
    limits.penalty_shared_ms, PENALTY_SHARED_MS, Live:
        millis(100..=600_000) => limits.penalties.shared_every;

    /// Shared state older than this counts as away.
    limits.shared_state_away_seconds, SHARED_STATE_AWAY_SECONDS, Live:
        seconds(1..=3600) => limits.penalties.away_after;

    /// Whether an account's limits grow with its time without a refusal.
    limits.good_standing, GOOD_STANDING, Live:
        Flag => limits.good_standing.enabled;

    /// Time without a refusal for one step.
    limits.good_standing_step_hours, GOOD_STANDING_STEP_HOURS, Live:
        hours(1..=8760) => limits.good_standing.step_after;

    /// How much one step adds, in percent of the limit.
    limits.good_standing_step_percent, GOOD_STANDING_STEP_PERCENT, Live:
        Number(1..=1000) => limits.good_standing.step_percent;

    /// The most that all steps add, in percent of the limit.
    limits.good_standing_most_percent, GOOD_STANDING_MOST_PERCENT, Live:
        Number(1..=10_000) => limits.good_standing.most_percent;

    /// Addresses that the limiter remembers, one entry for each rule they met, and in as many entries
    /// the accounts known there; 43 bytes each, from the start.
    limits.ip_keys_max, LIMIT_IP_KEYS_MAX, Restart:
        Number(1000..=100_000_000) => limits.tables.ip_keys;

    /// Accounts that the limiter remembers, one entry for each rule they met; 43 bytes each, from the
    /// start.
    limits.did_keys_max, LIMIT_DID_KEYS_MAX, Restart:
        Number(1000..=100_000_000) => limits.tables.did_keys;

    /// Offenders that are remembered; and a tenth as many that the other nodes have yet to hear of.
    limits.penalties_max, LIMIT_PENALTIES_MAX, Live:
        Number(100..=10_000_000) => limits.tables.penalties;

    /// An entry of the limiter leaves after this long without an admission.
    limits.idle_seconds, LIMIT_IDLE_SECONDS, Live:
        seconds(60..=86_400) => limits.tables.idle_after;

    /// How often idle entries are looked for.
    limits.sweep_seconds, LIMIT_SWEEP_SECONDS, Live:
        seconds(1..=86_400) => limits.tables.sweep_every;

    /// How long the key that hides addresses and accounts in the limiter's tables is used.
    limits.blind_key_hours, BLIND_KEY_HOURS, Live:
        hours(1..=8760) => limits.tables.blind_key_for;

    /// Rules that only count what they would have refused; docs/rate-limiting.md names them.
    limits.dry_run, LIMITS_DRY_RUN, Live:
        Rules => limits.dry_run;

    /// Networks that no rule by address applies to, such as a monitor's.
    limits.exempt, LIMITS_EXEMPT, Live:
        List(NETWORK) => limits.exempt;
];

#[cfg(test)]
mod tests {
    use crate::config::{Config, Source};

    #[test]
    fn no_stay_may_be_longer_than_its_subject_is_surely_known() {
        for name in ["PENALTY_MOST_SECONDS", "PENALTY_FORGIVEN_SECONDS"] {
            let with = |seconds: &str| Config::load(&Source::of("", &[(name, seconds)]));
            assert!(with("86400").is_ok(), "{name}");
            assert!(with("86401").is_err(), "{name}");
        }
    }
}

//! Pure. `[auth]`: whose tokens are believed, and for how long.

use super::SERVICE;
use crate::auth::TicketSecret;
use crate::config::key::Key;
use crate::config::kinds::{Flag, Maybe, Number, Text, millis, seconds};
use crate::types::Did;

pub(super) const KEYS: &[Key] = keys![
    /// This service's DID: the audience that every token must name, with or without #atproto_mls.
    auth.service_did, SERVICE_DID, Restart:
        DID => auth.service_did;

    /// The directory of did:plc identities.
    auth.plc_url, PLC_URL, Restart:
        SERVICE => auth.plc_url;

    /// The key that signs subscription tickets and hashes who wants whose key packages, the same on
    /// all nodes. Not set: the nodes share one through the database, and whoever reads that can try
    /// hashes.
    auth.ticket_secret, TICKET_SECRET, Restart:
        Maybe(SECRET) => auth.ticket_secret;

    /// Whether a token must name the call in lxm. Without it a token for one call serves for any.
    auth.enforce_lxm, ENFORCE_LXM, Live:
        Flag => auth.enforce_lxm;

    /// Whether a token may be used once only, on all nodes together.
    auth.enforce_jti, ENFORCE_JTI, Live:
        Flag => auth.enforce_jti;

    /// The least time for which a used token is remembered; it is remembered until a minute after
    /// it expires in any case.
    auth.jti_ttl_seconds, JTI_TTL_SECONDS, Live:
        seconds(1..=86_400) => auth.jti_ttl;

    /// How far ahead of ours the clock of a token's maker may be.
    auth.iat_skew_seconds, IAT_SKEW_SECONDS, Live:
        seconds(0..=600) => auth.iat_skew;

    /// How long after its exp a token still passes.
    auth.exp_leeway_seconds, EXP_LEEWAY_SECONDS, Live:
        seconds(0..=600) => auth.exp_leeway;

    /// The longest life that a token may be given.
    auth.token_lifetime_max_seconds, TOKEN_LIFETIME_MAX_SECONDS, Live:
        seconds(30..=86_400) => auth.token_lifetime_max;

    /// The longest token that is looked at.
    auth.token_bytes_max, TOKEN_BYTES_MAX, Live:
        Number(512..=16 << 10) => auth.token_len_max;

    /// How long a subscription ticket is good for.
    auth.ticket_ttl_seconds, TICKET_TTL_SECONDS, Live:
        seconds(5..=600) => auth.ticket_ttl;

    /// How long one lookup of a DID document may take, and how long it may wait for its turn.
    auth.resolve_timeout_ms, RESOLVE_TIMEOUT_MS, Live:
        millis(100..=60_000) => auth.resolve_timeout;

    /// The longest DID document that is read.
    auth.document_bytes_max, DID_DOCUMENT_BYTES_MAX, Restart:
        Number(4 << 10..=1 << 20) => auth.document_len_max;

    /// Lookups in the PLC directory at once.
    auth.plc_lookups_max, PLC_LOOKUPS_MAX, Restart:
        Number(1..=10_000) => auth.plc_lookups_max;

    /// Lookups of did:web documents at once. A quarter is for accounts whose keys are known; for
    /// others one client network, and one domain, has a quarter.
    auth.web_lookups_max, WEB_LOOKUPS_MAX, Restart:
        Number(1..=10_000) => auth.web_lookups_max;

    /// Lookups of did:plc under way or waiting, and as many of did:web, of which one client
    /// network, and one domain, has a quarter; past it, callers are told to wait.
    auth.lookups_max, LOOKUPS_MAX, Live:
        Number(1..=100_000) => auth.lookups_max;

    /// Accounts whose keys are remembered, at about 1 KiB each; an eighth as many DIDs of which no
    /// key was found; and a fifth as many of which it is known when auth.refresh_seconds is over.
    auth.keys_max, KEYS_MAX, Restart:
        Number(100..=10_000_000) => auth.keys_max;

    /// How long a key is used without a thought.
    auth.key_fresh_seconds, KEY_FRESH_SECONDS, Live:
        seconds(1..=86_400) => auth.key_fresh_for;

    /// How long a key is used while it is looked up anew.
    auth.key_stale_seconds, KEY_STALE_SECONDS, Live:
        seconds(1..=604_800) => auth.key_stale_for;

    /// How long "no such account" is remembered.
    auth.key_absent_seconds, KEY_ABSENT_SECONDS, Live:
        seconds(1..=3600) => auth.key_absent_for;

    /// How long after a failed lookup no other is tried for the same account.
    auth.lookup_pause_seconds, LOOKUP_PAUSE_SECONDS, Live:
        seconds(0..=600) => auth.lookup_pause;

    /// After a wrong signature the key is looked up anew, in case it was rotated; at most this
    /// often for one account.
    auth.refresh_seconds, KEY_REFRESH_SECONDS, Restart:
        seconds(1..=3600) => auth.refresh_every;

    /// And at most so many times a minute for one client network; over it a signature that does
    /// not fit is answered with 429.
    auth.refreshes_per_network, KEY_REFRESHES_PER_NETWORK, Restart:
        Number(1..=100_000) => auth.refreshes_per_network;

    /// Used tokens remembered by this node, 110 bytes each, so that most replays cost no question
    /// to the database.
    auth.nonces_max, NONCES_MAX, Restart:
        Number(1000..=100_000_000) => auth.nonces_max;

    /// Verified tokens remembered by this node, about 300 bytes each; they serve only where
    /// auth.enforce_jti is off.
    auth.verified_max, VERIFIED_MAX, Restart:
        Number(100..=10_000_000) => auth.verified_max;
];

const DID: Text<String> = Text {
    parse: |did| Did::parse(did).is_ok().then(|| did.to_owned()),
    ..Text::parsed("a DID, such as \"did:web:relay.example.com\"")
};

const SECRET: Text<TicketSecret> = Text {
    allowed: "32 random bytes in base64, such as `openssl rand -base64 32` prints",
    parse: |secret| TicketSecret::parse(secret).ok(),
    show: |_| "***".to_owned(),
    why: |_| None,
};

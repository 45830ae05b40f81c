//! Pure. `[auth]`: whose tokens are believed, and for how long.

use super::{Effect, Flag, Key, Maybe, Number, Parsed, SERVICE, Span, Unit, is_service};
use crate::auth::TicketSecret;
use crate::types::Did;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "auth.service_did",
        env: "SERVICE_DID",
        effect: Effect::Restart,
        doc: "This service's DID: the audience that every token must name, with or without \
              #atproto_mls.",
        setting: &Parsed {
            at: |c| &mut c.auth.service_did,
            allowed: "a DID, such as \"did:web:relay.example.com\"",
            check: |did: &String| Did::parse(did).is_ok(),
        },
    },
    Key {
        name: "auth.plc_url",
        env: "PLC_URL",
        effect: Effect::Restart,
        doc: "The directory of did:plc identities.",
        setting: &Parsed {
            at: |c| &mut c.auth.plc_url,
            allowed: SERVICE,
            check: |url: &String| is_service(url),
        },
    },
    Key {
        name: "auth.ticket_secret",
        env: "TICKET_SECRET",
        effect: Effect::Restart,
        doc: "The key that signs subscription tickets and hashes who wants whose key packages, \
              the same on all nodes. Not set: the nodes share one through the database, and \
              whoever reads that can try hashes.",
        setting: &Maybe {
            at: |c| &mut c.auth.ticket_secret,
            allowed: "32 random bytes in base64, such as `openssl rand -base64 32` prints",
            parse: |secret| TicketSecret::parse(secret).ok(),
            show: |_| "***".to_owned(),
        },
    },
    Key {
        name: "auth.enforce_lxm",
        env: "ENFORCE_LXM",
        effect: Effect::Live,
        doc: "Whether a token must name the call in lxm. Without it a token for one call serves \
              for any.",
        setting: &Flag(|c| &mut c.auth.enforce_lxm),
    },
    Key {
        name: "auth.enforce_jti",
        env: "ENFORCE_JTI",
        effect: Effect::Live,
        doc: "Whether a token may be used once only, on all nodes together.",
        setting: &Flag(|c| &mut c.auth.enforce_jti),
    },
    Key {
        name: "auth.jti_ttl_seconds",
        env: "JTI_TTL_SECONDS",
        effect: Effect::Live,
        doc: "The least time for which a used token is remembered; it is remembered until it \
              expires in any case.",
        setting: &Span {
            at: |c| &mut c.auth.jti_ttl,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "auth.iat_skew_seconds",
        env: "IAT_SKEW_SECONDS",
        effect: Effect::Live,
        doc: "How far ahead of ours the clock of a token's maker may be.",
        setting: &Span {
            at: |c| &mut c.auth.iat_skew,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
        name: "auth.exp_leeway_seconds",
        env: "EXP_LEEWAY_SECONDS",
        effect: Effect::Live,
        doc: "How long after its exp a token still passes.",
        setting: &Span {
            at: |c| &mut c.auth.exp_leeway,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
        name: "auth.token_lifetime_max_seconds",
        env: "TOKEN_LIFETIME_MAX_SECONDS",
        effect: Effect::Live,
        doc: "The longest life that a token may be given.",
        setting: &Span {
            at: |c| &mut c.auth.token_lifetime_max,
            unit: Unit::Seconds,
            least: 30,
            most: 86400,
        },
    },
    Key {
        name: "auth.token_bytes_max",
        env: "TOKEN_BYTES_MAX",
        effect: Effect::Live,
        doc: "The longest token that is looked at.",
        setting: &Number {
            at: |c| &mut c.auth.token_len_max,
            least: 512,
            most: 16384,
        },
    },
    Key {
        name: "auth.ticket_ttl_seconds",
        env: "TICKET_TTL_SECONDS",
        effect: Effect::Live,
        doc: "How long a subscription ticket is good for.",
        setting: &Span {
            at: |c| &mut c.auth.ticket_ttl,
            unit: Unit::Seconds,
            least: 5,
            most: 600,
        },
    },
    Key {
        name: "auth.resolve_timeout_ms",
        env: "RESOLVE_TIMEOUT_MS",
        effect: Effect::Live,
        doc: "How long one lookup of a DID document may take, and how long it may wait for its \
              turn.",
        setting: &Span {
            at: |c| &mut c.auth.resolve_timeout,
            unit: Unit::Millis,
            least: 100,
            most: 60000,
        },
    },
    Key {
        name: "auth.document_bytes_max",
        env: "DID_DOCUMENT_BYTES_MAX",
        effect: Effect::Restart,
        doc: "The longest DID document that is read.",
        setting: &Number {
            at: |c| &mut c.auth.document_len_max,
            least: 4096,
            most: 1048576,
        },
    },
    Key {
        name: "auth.plc_lookups_max",
        env: "PLC_LOOKUPS_MAX",
        effect: Effect::Restart,
        doc: "Lookups in the PLC directory at once.",
        setting: &Number {
            at: |c| &mut c.auth.plc_lookups_max,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "auth.web_lookups_max",
        env: "WEB_LOOKUPS_MAX",
        effect: Effect::Restart,
        doc: "Lookups of did:web documents at once. A quarter is for accounts whose keys are \
              known; for others one client network, and one domain, has a quarter.",
        setting: &Number {
            at: |c| &mut c.auth.web_lookups_max,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "auth.lookups_max",
        env: "LOOKUPS_MAX",
        effect: Effect::Live,
        doc: "Lookups of did:plc under way or waiting, and as many of did:web, of which one client \
              network, and one domain, has a quarter; past it, callers are told to wait.",
        setting: &Number {
            at: |c| &mut c.auth.lookups_max,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "auth.keys_max",
        env: "KEYS_MAX",
        effect: Effect::Restart,
        doc: "Accounts whose keys are remembered, at about 1 KiB each; an eighth as many DIDs of \
              which no key was found; and a fifth as many of which it is known when \
              auth.refresh_seconds is over.",
        setting: &Number {
            at: |c| &mut c.auth.keys_max,
            least: 100,
            most: 10000000,
        },
    },
    Key {
        name: "auth.key_fresh_seconds",
        env: "KEY_FRESH_SECONDS",
        effect: Effect::Live,
        doc: "How long a key is used without a thought.",
        setting: &Span {
            at: |c| &mut c.auth.key_fresh_for,
            unit: Unit::Seconds,
            least: 1,
            most: 86400,
        },
    },
    Key {
        name: "auth.key_stale_seconds",
        env: "KEY_STALE_SECONDS",
        effect: Effect::Live,
        doc: "How long a key is used while it is looked up anew.",
        setting: &Span {
            at: |c| &mut c.auth.key_stale_for,
            unit: Unit::Seconds,
            least: 1,
            most: 604800,
        },
    },
    Key {
        name: "auth.key_absent_seconds",
        env: "KEY_ABSENT_SECONDS",
        effect: Effect::Live,
        doc: "How long \"no such account\" is remembered.",
        setting: &Span {
            at: |c| &mut c.auth.key_absent_for,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "auth.lookup_pause_seconds",
        env: "LOOKUP_PAUSE_SECONDS",
        effect: Effect::Live,
        doc: "How long after a failed lookup no other is tried for the same account.",
        setting: &Span {
            at: |c| &mut c.auth.lookup_pause,
            unit: Unit::Seconds,
            least: 0,
            most: 600,
        },
    },
    Key {
        name: "auth.refresh_seconds",
        env: "KEY_REFRESH_SECONDS",
        effect: Effect::Restart,
        doc: "After a wrong signature the key is looked up anew, in case it was rotated; at most \
              this often for one account.",
        setting: &Span {
            at: |c| &mut c.auth.refresh_every,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "auth.refreshes_per_network",
        env: "KEY_REFRESHES_PER_NETWORK",
        effect: Effect::Restart,
        doc: "And at most so many times a minute for one client network.",
        setting: &Number {
            at: |c| &mut c.auth.refreshes_per_network,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "auth.nonces_max",
        env: "NONCES_MAX",
        effect: Effect::Restart,
        doc: "Used tokens remembered by this node, 40 bytes each, so that most replays cost no \
              question to the database.",
        setting: &Number {
            at: |c| &mut c.auth.nonces_max,
            least: 1000,
            most: 100000000,
        },
    },
    Key {
        name: "auth.verified_max",
        env: "VERIFIED_MAX",
        effect: Effect::Restart,
        doc: "Verified tokens remembered by this node, about 300 bytes each; they serve only where \
              auth.enforce_jti is off.",
        setting: &Number {
            at: |c| &mut c.auth.verified_max,
            least: 100,
            most: 10000000,
        },
    },
];

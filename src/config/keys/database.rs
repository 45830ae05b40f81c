//! Pure. `[database]`: the Postgres that holds everything, given or private.

use super::{Effect, Explained, Flag, Key, Maybe, Number, Path, Span, Unit};
use crate::config::redact;
use crate::store::DatabaseUrl;

const URL: &str = "a Postgres URL, such as \"postgres://user:password@host/database\"";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "database.url",
        env: "DATABASE_URL",
        effect: Effect::Restart,
        doc: "The Postgres to use. Not set: the relay runs a private one of its own, which suits \
              one machine.",
        setting: &Explained {
            kind: Maybe {
                at: |c| &mut c.database.url,
                allowed: URL,
                parse: |url| DatabaseUrl::parse(url).ok(),
                show: |url| redact::database_url(url.expose()),
            },
            why: parameter_refused,
        },
    },
    Key {
        name: "database.listen_url",
        env: "DATABASE_LISTEN_URL",
        effect: Effect::Restart,
        doc: "Where LISTEN works, when database.url is a pooler that breaks it. Not set: the same.",
        setting: &Explained {
            kind: Maybe {
                at: |c| &mut c.store.listen_url,
                allowed: URL,
                parse: |url| DatabaseUrl::parse(url).ok(),
                show: |url| redact::database_url(url.expose()),
            },
            why: parameter_refused,
        },
    },
    Key {
        name: "database.ca_file",
        env: "DATABASE_CA_FILE",
        effect: Effect::Restart,
        doc: "The trust anchor, PEM, for TLS to Postgres. Not set: the public ones.",
        setting: &Maybe::path(|c| &mut c.store.ca_file),
    },
    Key {
        name: "database.connections_max",
        env: "DATABASE_CONNECTIONS_MAX",
        effect: Effect::Restart,
        doc: "Connections for everything but sends and following the stream; about twice the cores of Postgres.",
        setting: &Number {
            at: |c| &mut c.store.connections_max,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "database.committers",
        env: "DATABASE_COMMITTERS",
        effect: Effect::Restart,
        doc: "Connections that append sends. More than 4 only wait for each other.",
        setting: &Number {
            at: |c| &mut c.store.committers,
            least: 1,
            most: 16,
        },
    },
    Key {
        name: "database.acquire_timeout_ms",
        env: "DATABASE_ACQUIRE_TIMEOUT_MS",
        effect: Effect::Restart,
        doc: "The longest wait for a free connection; after it, 503.",
        setting: &Span {
            at: |c| &mut c.store.acquire_timeout,
            unit: Unit::Millis,
            least: 50,
            most: 60_000,
        },
    },
    Key {
        name: "database.statement_timeout_ms",
        env: "DATABASE_STATEMENT_TIMEOUT_MS",
        effect: Effect::Restart,
        doc: "The longest run of one statement, and how long it may wait for a lock.",
        setting: &Span {
            at: |c| &mut c.store.statement_timeout,
            unit: Unit::Millis,
            least: 100,
            most: 600_000,
        },
    },
    Key {
        name: "database.held_up_ms",
        env: "HELD_UP_MS",
        effect: Effect::Restart,
        doc: "When sends did not end in database.statement_timeout_ms, it is looked, for six times \
              that, which conversations somebody holds for so long: sends into these are answered \
              503, and keep no others waiting. Longer than Postgres takes to commit.",
        setting: &Span {
            at: |c| &mut c.store.held_up_after,
            unit: Unit::Millis,
            least: 10,
            most: 60000,
        },
    },
    Key {
        name: "database.append_queue_max",
        env: "APPEND_QUEUE_MAX",
        effect: Effect::Restart,
        doc: "Sends that wait for a committer; over it, 503.",
        setting: &Number {
            at: |c| &mut c.store.append_queue_max,
            least: 1,
            most: 1_000_000,
        },
    },
    Key {
        name: "database.append_batch_max",
        env: "APPEND_BATCH_MAX",
        effect: Effect::Restart,
        doc: "Sends in one transaction.",
        setting: &Number {
            at: |c| &mut c.store.append_batch_max,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "database.append_batch_bytes_max",
        env: "APPEND_BATCH_BYTES_MAX",
        effect: Effect::Restart,
        doc: "Their bytes together.",
        setting: &Number {
            at: |c| &mut c.store.append_batch_bytes_max,
            least: 65_536,
            most: 67_108_864,
        },
    },
    Key {
        name: "database.reads_queue_max",
        env: "READS_QUEUE_MAX",
        effect: Effect::Restart,
        doc: "Sessions that wait at once for one kind of what is read for many together: their \
              conversations, where they stand, where the stream ends, pages, messages. Over it \
              they are asked to come back. As many as sessions that may come at once.",
        setting: &Number {
            at: |c| &mut c.store.reads_queue_max,
            least: 64,
            most: 2000000,
        },
    },
    Key {
        name: "database.jti_queue_max",
        env: "JTI_QUEUE_MAX",
        effect: Effect::Restart,
        doc: "Token ids that wait to be checked for reuse; over it, 503.",
        setting: &Number {
            at: |c| &mut c.store.jti_queue_max,
            least: 1,
            most: 1_000_000,
        },
    },
    Key {
        name: "database.repeat_window_hours",
        env: "REPEAT_WINDOW_HOURS",
        effect: Effect::Restart,
        doc: "How far back a repeated message id is recognised, so that a client may send again \
              after a lost answer.",
        setting: &Span {
            at: |c| &mut c.store.repeat_window,
            unit: Unit::Hours,
            least: 1,
            most: 720,
        },
    },
    Key {
        name: "database.partition_days_ahead",
        env: "PARTITION_DAYS_AHEAD",
        effect: Effect::Restart,
        doc: "Days of tables that stand ready, so that a relay whose maintenance fails can go on \
              for so long.",
        setting: &Number {
            at: |c| &mut c.store.partition_days_ahead,
            least: 1,
            most: 60,
        },
    },
    Key {
        name: "database.members_max",
        env: "MEMBERS_MAX",
        effect: Effect::Restart,
        doc: "Devices in one conversation.",
        setting: &Number {
            at: |c| &mut c.store.members_max,
            least: 2,
            most: 100_000,
        },
    },
    Key {
        name: "database.data_dir",
        env: "RELAY_DATA_DIR",
        effect: Effect::Restart,
        doc: "Where the private Postgres keeps its data between runs.",
        setting: &Path(|c| &mut c.database.private.data_dir),
    },
    Key {
        name: "database.bin_dir",
        env: "RELAY_PG_BIN",
        effect: Effect::Restart,
        doc: "The directory with initdb and postgres. Not set: PATH, then the usual places, newest \
              first.",
        setting: &Maybe::path(|c| &mut c.database.private.bin_dir),
    },
    Key {
        name: "database.start_timeout_seconds",
        env: "RELAY_PG_START_TIMEOUT_SECONDS",
        effect: Effect::Restart,
        doc: "How long a start waits for Postgres: for the private one, crash recovery included, \
              or for one that cannot be reached yet.",
        setting: &Span {
            at: |c| &mut c.database.private.start_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "database.stop_timeout_seconds",
        env: "RELAY_PG_STOP_TIMEOUT_SECONDS",
        effect: Effect::Restart,
        doc: "How long it may take to stop before it is cut off (it then recovers at the next \
              start).",
        setting: &Span {
            at: |c| &mut c.database.private.stop_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 600,
        },
    },
    Key {
        name: "database.durable",
        env: "RELAY_PG_DURABLE",
        effect: Effect::Restart,
        doc: "Whether the private Postgres waits for the disk at each commit. Turn it off for \
              tests only: a power failure can then destroy the database.",
        setting: &Flag(|c| &mut c.database.private.durable),
    },
];

/// The parameter of libpq's that the relay's client does not take, if there is one. Nothing
/// else of the text is told: it holds a password.
fn parameter_refused(url: &str) -> Option<String> {
    let value = |name: &str| {
        let (_, rest) = url.split_once(&format!("{name}="))?;
        rest.split(|c: char| c == '&' || c.is_whitespace()).next()
    };
    if value("sslmode").is_some_and(|mode| !["disable", "prefer", "require"].contains(&mode)) {
        let why = "sslmode takes disable, prefer or require (which verifies)";
        return Some(why.to_owned());
    }
    if value("sslrootcert").is_some() {
        let why =
            "sslrootcert is not taken; the trust anchor is database.ca_file (DATABASE_CA_FILE)";
        return Some(why.to_owned());
    }
    let others = [
        "sslcert",
        "sslkey",
        "sslcrl",
        "gssencmode",
        "passfile",
        "service",
    ];
    let other = others.into_iter().find(|name| value(name).is_some())?;
    Some(format!("{other} is not taken"))
}

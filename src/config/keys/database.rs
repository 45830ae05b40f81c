//! Pure. `[database]`: the Postgres that holds everything, given or private.

use crate::config::key::Key;
use crate::config::kinds::{Flag, Maybe, Number, PATH, Text, hours, millis, seconds};
use crate::config::redact;
use crate::store::{DatabaseUrl, DatabaseUrlError};

pub(super) const KEYS: &[Key] = keys![
    /// The Postgres to use. Not set: the relay runs a private one of its own, which suits one
    /// machine.
    database.url, DATABASE_URL, Restart:
        Maybe(URL) => database.url;

    /// Where LISTEN works, when database.url is a pooler that breaks it. Not set: the same.
    database.listen_url, DATABASE_LISTEN_URL, Restart:
        Maybe(URL) => store.listen_url;

    /// The trust anchor, PEM, for TLS to Postgres. Not set: the public ones.
    database.ca_file, DATABASE_CA_FILE, Restart:
        Maybe(PATH) => store.ca_file;

    /// Connections for everything but sends and following the stream; about twice the cores of
    /// Postgres. The calls of one account have a quarter of them at once.
    database.connections_max, DATABASE_CONNECTIONS_MAX, Restart:
        Number(1..=1000) => store.connections_max;

    /// Connections that append sends. More than 4 only wait for each other.
    database.committers, DATABASE_COMMITTERS, Restart:
        Number(1..=16) => store.committers;

    /// The longest wait for a free connection; after it, 503.
    database.acquire_timeout_ms, DATABASE_ACQUIRE_TIMEOUT_MS, Restart:
        millis(50..=60_000) => store.acquire_timeout;

    /// The longest run of one statement. It waits for a lock for at most four fifths of that.
    database.statement_timeout_ms, DATABASE_STATEMENT_TIMEOUT_MS, Restart:
        millis(100..=600_000) => store.statement_timeout;

    /// When sends did not end in database.statement_timeout_ms, it is looked, for six times that,
    /// which conversations somebody holds for so long: sends into these are answered 503, and keep
    /// no others waiting. Longer than Postgres takes to commit.
    database.held_up_ms, HELD_UP_MS, Restart:
        millis(10..=60_000) => store.held_up_after;

    /// Sends that wait for a committer; over it, 503.
    database.append_queue_max, APPEND_QUEUE_MAX, Restart:
        Number(1..=1_000_000) => store.append_queue_max;

    /// Sends in one transaction.
    database.append_batch_max, APPEND_BATCH_MAX, Restart:
        Number(1..=1000) => store.append_batch_max;

    /// Their bytes together.
    database.append_batch_bytes_max, APPEND_BATCH_BYTES_MAX, Restart:
        Number(64 << 10..=64 << 20) => store.append_batch_bytes_max;

    /// Sessions that wait at once for one kind of what is read for many together: their
    /// conversations, where they stand, where the stream ends, pages, messages. Over it they are
    /// asked to come back. As many as sessions that may come at once.
    database.reads_queue_max, READS_QUEUE_MAX, Restart:
        Number(64..=2_000_000) => store.reads_queue_max;

    /// Token ids that wait to be checked for reuse; over it, 503.
    database.jti_queue_max, JTI_QUEUE_MAX, Restart:
        Number(1..=1_000_000) => store.jti_queue_max;

    /// How far back a repeated message id is recognised, so that a client may send again after a
    /// lost answer.
    database.repeat_window_hours, REPEAT_WINDOW_HOURS, Restart:
        hours(1..=720) => store.repeat_window;

    /// Days of tables that stand ready, so that a relay whose maintenance fails can go on for so
    /// long.
    database.partition_days_ahead, PARTITION_DAYS_AHEAD, Restart:
        Number(1..=60) => store.partition_days_ahead;

    /// Devices in one conversation.
    database.members_max, MEMBERS_MAX, Restart:
        Number(2..=100_000) => store.members_max;

    /// Where the private Postgres keeps its data between runs.
    database.data_dir, RELAY_DATA_DIR, Restart:
        PATH => database.private.data_dir;

    /// The directory with initdb and postgres. Not set: PATH, then the usual places, newest first.
    database.bin_dir, RELAY_PG_BIN, Restart:
        Maybe(PATH) => database.private.bin_dir;

    /// How long a start waits for Postgres: for the private one, crash recovery included, or for
    /// one that cannot be reached yet.
    database.start_timeout_seconds, RELAY_PG_START_TIMEOUT_SECONDS, Restart:
        seconds(1..=3600) => database.private.start_timeout;

    /// How long it may take to stop before it is cut off (it then recovers at the next start).
    database.stop_timeout_seconds, RELAY_PG_STOP_TIMEOUT_SECONDS, Restart:
        seconds(1..=600) => database.private.stop_timeout;

    /// Whether the private Postgres waits for the disk at each commit. Turn it off for tests only:
    /// a power failure can then destroy the database.
    database.durable, RELAY_PG_DURABLE, Restart:
        Flag => database.private.durable;
];

const URL: Text<DatabaseUrl> = Text {
    allowed: "a Postgres URL, such as \"postgres://user:password@host/database\"",
    parse: |url| DatabaseUrl::parse(url).ok(),
    show: |url| redact::database_url(url.expose()),
    why: refused,
};

/// The parameter of libpq's that the relay's client does not take, if there is one, or what a
/// password needs. Nothing else of the text is told: it holds one.
fn refused(url: &str) -> Option<String> {
    if let Err(error @ DatabaseUrlError::BareAt) = DatabaseUrl::parse(url) {
        return Some(error.to_string());
    }
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

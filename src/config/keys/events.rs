//! Pure. `[events]`: how events get from the database to the sessions.

use crate::config::key::Key;
use crate::config::kinds::{Number, millis, seconds};

pub(super) const KEYS: &[Key] = keys![
    /// Bytes of events that wait for one session. Over it, the session goes on from the database.
    events.outbox_bytes_max, OUTBOX_BYTES_MAX, NewConnections:
        Number(4 << 10..=64 << 20) => events.outbox_bytes_max;

    /// Bytes of recent events of all conversations that a node remembers, so that most returning
    /// clients cost no query.
    events.recent_bytes_max, RECENT_BYTES_MAX, Restart:
        Number(64 << 10..=16 << 30) => events.recent_bytes_max;

    /// How many of the last events a node reads when it starts.
    events.recent_at_start, RECENT_AT_START, Restart:
        Number(0..=1_000_000) => events.recent_at_start;

    /// Events that a returning session may get from memory; more are read from the database, page
    /// by page.
    events.backlog_max, BACKLOG_MAX, Restart:
        Number(1..=100_000) => events.backlog_max;

    /// Events in one page that a session gets from the database.
    events.page_max, EVENT_PAGE_MAX, Restart:
        Number(1..=10_000) => events.page_max;

    /// Events that one reading of the database brings for all sessions that wait for a page.
    events.replay_rows_max, REPLAY_ROWS_MAX, Restart:
        Number(64..=10_000_000) => events.replay_rows_max;

    /// Notifications between the socket to Postgres and the task that follows the stream.
    events.ring_max, NOTIFICATION_QUEUE_MAX, Restart:
        Number(16..=1_000_000) => events.ring_max;

    /// How often the table is looked at although notifications come.
    events.reconcile_seconds, RECONCILE_SECONDS, Live:
        seconds(1..=3600) => events.reconcile_every;

    /// How often the table is looked at while notifications do not come.
    events.poll_ms, EVENT_POLL_MS, Live:
        millis(10..=60_000) => events.poll_every;

    /// How often a node sends a notification to itself, to know that they come.
    events.canary_seconds, CANARY_SECONDS, Live:
        seconds(1..=3600) => events.canary_every;

    /// How late it may be before the table is polled.
    events.canary_late_ms, CANARY_LATE_MS, Live:
        millis(50..=60_000) => events.canary_late;

    /// The first wait before the listener connects again.
    events.reconnect_first_ms, LISTENER_RECONNECT_FIRST_MS, Restart:
        millis(10..=60_000) => events.reconnect_first;

    /// The longest such wait.
    events.reconnect_most_ms, LISTENER_RECONNECT_MOST_MS, Restart:
        millis(10..=600_000) => events.reconnect_most;

    /// How long a session waits for an answer of the hub.
    events.hub_timeout_seconds, HUB_TIMEOUT_SECONDS, Live:
        seconds(1..=600) => events.hub_timeout;

    /// How long a session tries to read from a database that does not answer before its client is
    /// asked to come back later.
    events.read_patience_seconds, READ_PATIENCE_SECONDS, Live:
        seconds(1..=3600) => events.read_patience;

    /// A session that reads from the database must be nearer to the head after each such time than
    /// before it; one that is not is too slow.
    events.catch_up_seconds, CATCH_UP_SECONDS, Live:
        seconds(1..=3600) => events.catch_up_window;

    /// Typing notices and ephemeral messages that wait to be passed on; of more, the latter are
    /// refused. The former take half of the places at most, and are dropped.
    events.passing_queue_max, PASSING_QUEUE_MAX, Restart:
        Number(1..=100_000) => events.passing_queue_max;

    /// The shortest time between two rounds in which one node passes them on: each is one
    /// transaction with up to 64 of them.
    events.passing_ms, PASSING_MS, Restart:
        millis(1..=60_000) => events.passing_every;

    /// Bytes of messages, with their frames, that a node remembers for subscribers who want them
    /// with their events.
    events.hydrated_bytes_max, HYDRATED_BYTES_MAX, Restart:
        Number(1 << 20..=16 << 30) => events.hydrated_bytes_max;

    /// How long an event waits for its message, for subscribers who want both; then it goes
    /// without.
    events.hydrate_timeout_ms, HYDRATE_TIMEOUT_MS, Live:
        millis(10..=60_000) => events.hydrate_timeout;
];

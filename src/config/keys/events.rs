//! Pure. `[events]`: how events get from the database to the sessions.

use super::{Effect, Key, Number, Span, Unit};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "events.outbox_bytes_max",
        env: "OUTBOX_BYTES_MAX",
        effect: Effect::NewConnections,
        doc: "Bytes of events that wait for one session. Over it, the session goes on from the \
              database.",
        setting: &Number {
            at: |c| &mut c.events.outbox_bytes_max,
            least: 4096,
            most: 67108864,
        },
    },
    Key {
        name: "events.recent_bytes_max",
        env: "RECENT_BYTES_MAX",
        effect: Effect::Restart,
        doc: "Bytes of recent events of all conversations that a node remembers, so that most \
              returning clients cost no query.",
        setting: &Number {
            at: |c| &mut c.events.recent_bytes_max,
            least: 65536,
            most: 17179869184,
        },
    },
    Key {
        name: "events.recent_at_start",
        env: "RECENT_AT_START",
        effect: Effect::Restart,
        doc: "How many of the last events a node reads when it starts.",
        setting: &Number {
            at: |c| &mut c.events.recent_at_start,
            least: 0,
            most: 1000000,
        },
    },
    Key {
        name: "events.backlog_max",
        env: "BACKLOG_MAX",
        effect: Effect::Restart,
        doc: "Events that a returning session may get from memory; more are read from the \
              database, page by page.",
        setting: &Number {
            at: |c| &mut c.events.backlog_max,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "events.page_max",
        env: "EVENT_PAGE_MAX",
        effect: Effect::Restart,
        doc: "Events in one page that a session gets from the database.",
        setting: &Number {
            at: |c| &mut c.events.page_max,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "events.replay_rows_max",
        env: "REPLAY_ROWS_MAX",
        effect: Effect::Restart,
        doc: "Events that one reading of the database brings for all sessions that wait for a \
              page.",
        setting: &Number {
            at: |c| &mut c.events.replay_rows_max,
            least: 64,
            most: 10000000,
        },
    },
    Key {
        name: "events.ring_max",
        env: "NOTIFICATION_QUEUE_MAX",
        effect: Effect::Restart,
        doc: "Notifications between the socket to Postgres and the task that follows the stream.",
        setting: &Number {
            at: |c| &mut c.events.ring_max,
            least: 16,
            most: 1000000,
        },
    },
    Key {
        name: "events.reconcile_seconds",
        env: "RECONCILE_SECONDS",
        effect: Effect::Live,
        doc: "How often the table is looked at although notifications come.",
        setting: &Span {
            at: |c| &mut c.events.reconcile_every,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "events.poll_ms",
        env: "EVENT_POLL_MS",
        effect: Effect::Live,
        doc: "How often the table is looked at while notifications do not come.",
        setting: &Span {
            at: |c| &mut c.events.poll_every,
            unit: Unit::Millis,
            least: 10,
            most: 60000,
        },
    },
    Key {
        name: "events.canary_seconds",
        env: "CANARY_SECONDS",
        effect: Effect::Live,
        doc: "How often a node sends a notification to itself, to know that they come.",
        setting: &Span {
            at: |c| &mut c.events.canary_every,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "events.canary_late_ms",
        env: "CANARY_LATE_MS",
        effect: Effect::Live,
        doc: "How late it may be before the table is polled.",
        setting: &Span {
            at: |c| &mut c.events.canary_late,
            unit: Unit::Millis,
            least: 50,
            most: 60000,
        },
    },
    Key {
        name: "events.reconnect_first_ms",
        env: "LISTENER_RECONNECT_FIRST_MS",
        effect: Effect::Restart,
        doc: "The first wait before the listener connects again.",
        setting: &Span {
            at: |c| &mut c.events.reconnect_first,
            unit: Unit::Millis,
            least: 10,
            most: 60000,
        },
    },
    Key {
        name: "events.reconnect_most_ms",
        env: "LISTENER_RECONNECT_MOST_MS",
        effect: Effect::Restart,
        doc: "The longest such wait.",
        setting: &Span {
            at: |c| &mut c.events.reconnect_most,
            unit: Unit::Millis,
            least: 10,
            most: 600000,
        },
    },
    Key {
        name: "events.hub_timeout_seconds",
        env: "HUB_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long a session waits for an answer of the hub.",
        setting: &Span {
            at: |c| &mut c.events.hub_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 600,
        },
    },
    Key {
        name: "events.read_patience_seconds",
        env: "READ_PATIENCE_SECONDS",
        effect: Effect::Live,
        doc: "How long a session tries to read from a database that does not answer before its \
              client is asked to come back later.",
        setting: &Span {
            at: |c| &mut c.events.read_patience,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "events.catch_up_seconds",
        env: "CATCH_UP_SECONDS",
        effect: Effect::Live,
        doc: "A session that reads from the database must be nearer to the head after each such \
              time than before it; one that is not is too slow.",
        setting: &Span {
            at: |c| &mut c.events.catch_up_window,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "events.passing_queue_max",
        env: "PASSING_QUEUE_MAX",
        effect: Effect::Restart,
        doc: "Typing notices and ephemeral messages that wait to be passed on; of more, the \
              latter are refused. The former take half of the places at most, and are dropped.",
        setting: &Number {
            at: |c| &mut c.events.passing_queue_max,
            least: 1,
            most: 100000,
        },
    },
    Key {
        name: "events.passing_ms",
        env: "PASSING_MS",
        effect: Effect::Restart,
        doc: "The shortest time between two rounds in which one node passes them on: each is one \
              transaction with up to 64 of them.",
        setting: &Span {
            at: |c| &mut c.events.passing_every,
            unit: Unit::Millis,
            least: 1,
            most: 60000,
        },
    },
    Key {
        name: "events.hydrated_bytes_max",
        env: "HYDRATED_BYTES_MAX",
        effect: Effect::Restart,
        doc: "Bytes of messages, with their frames, that a node remembers for subscribers who \
              want them with their events.",
        setting: &Number {
            at: |c| &mut c.events.hydrated_bytes_max,
            least: 1048576,
            most: 17179869184,
        },
    },
    Key {
        name: "events.hydrate_timeout_ms",
        env: "HYDRATE_TIMEOUT_MS",
        effect: Effect::Live,
        doc: "How long an event waits for its message, for subscribers who want both; then it goes \
              without.",
        setting: &Span {
            at: |c| &mut c.events.hydrate_timeout,
            unit: Unit::Millis,
            least: 10,
            most: 60000,
        },
    },
];

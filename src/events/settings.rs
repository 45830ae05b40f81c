//! Pure. How much the event path may hold, and how long it waits.

use std::time::Duration;

/// Every field's default is in [`Settings::default`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    /// Bytes of events that wait for one session. Over it, the session goes on
    /// from the database.
    pub outbox_bytes_max: usize,
    /// Bytes of recent events of all conversations that a node remembers.
    pub recent_bytes_max: usize,
    /// How many of the last events a node reads when it starts.
    pub recent_at_start: u32,
    /// Events that a returning session may get from memory; more are read from
    /// the database, page by page.
    pub backlog_max: usize,
    /// Events in one page read from the database.
    pub page_max: u32,
    /// Sessions that wait for a page. The same as for what the store reads for many.
    pub reads_queue_max: usize,
    /// Events that one reading brings for all sessions that wait for a page.
    pub replay_rows_max: u32,
    /// Notifications between the socket and the task that follows the stream.
    pub ring_max: usize,
    /// How often the table is looked at although notifications come.
    pub reconcile_every: Duration,
    /// How often it is looked at while they do not.
    pub poll_every: Duration,
    /// How often a notification is sent to oneself.
    pub canary_every: Duration,
    /// How late it may be before the table is polled.
    pub canary_late: Duration,
    /// Waits between attempts to connect: the first, and the most.
    pub reconnect_first: Duration,
    pub reconnect_most: Duration,
    /// How long a session waits for an answer of the hub.
    pub hub_timeout: Duration,
    /// How long a session tries to read from a database that does not answer,
    /// before its client is asked to come back later.
    pub read_patience: Duration,
    /// A session that fell back to the database must be nearer to the head at the
    /// end of each such time than at its start.
    pub catch_up_window: Duration,
    /// Typing notices and ephemeral messages that wait to be passed on; of more, the
    /// latter are refused. The former take half of the places at most, and are dropped.
    pub passing_queue_max: usize,
    /// The shortest time between two rounds of passing them on by one node.
    pub passing_every: Duration,
    /// Bytes of messages that a node remembers for subscribers who want them with their
    /// events.
    pub hydrated_bytes_max: u64,
    /// How long events wait for their messages. Then they go without.
    pub hydrate_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            outbox_bytes_max: 256 << 10,
            recent_bytes_max: 32 << 20,
            recent_at_start: 10_000,
            backlog_max: 512,
            page_max: 200,
            reads_queue_max: 65_536,
            replay_rows_max: 32_768,
            ring_max: 1024,
            reconcile_every: Duration::from_secs(5),
            poll_every: Duration::from_millis(100),
            canary_every: Duration::from_secs(5),
            canary_late: Duration::from_secs(1),
            reconnect_first: Duration::from_millis(50),
            reconnect_most: Duration::from_secs(5),
            hub_timeout: Duration::from_secs(10),
            read_patience: Duration::from_secs(30),
            catch_up_window: Duration::from_secs(60),
            passing_queue_max: 256,
            passing_every: Duration::from_millis(50),
            hydrated_bytes_max: 32 << 20,
            hydrate_timeout: Duration::from_secs(2),
        }
    }
}

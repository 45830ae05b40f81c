//! A node has restarted, and 5,000 phones come back at once with their cursors: the
//! time until all are live, and what it asks of Postgres. Measured at the hub: TLS
//! and tokens are not in it.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/node.rs"]
mod node;

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::Database;
use figure::Figure;
use mls_relay::events::{self, Hearing, Hub, News, Subscriber};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::store::Store;
use mls_relay::types::{ConvoId, Cursor, Did};
use node::{Node, message};

const SESSIONS: usize = 5_000;
/// Each account is in three conversations of ten.
const CONVOS: usize = 1_500;
const EVENTS: usize = 20_000;

#[tokio::main]
async fn main() {
    let node = Node::start(&["shared_buffers=256MB"]).await;
    populate(&node).await;
    let (database, store) = (&node.database, &node.store);
    let head = store.ends().await.unwrap().head.get();

    // Away for a moment: what was missed is in the node's memory.
    let recent = resume(database, store, head - 2_000).await;
    Figure::new("resume_5000_ms", recent.as_secs_f64() * 1e3, "ms").record();
    // Away for longer: it is read from the database.
    let old = resume(database, store, 0).await;
    Figure::new(
        "resume_5000_from_database_ms",
        old.as_secs_f64() * 1e3,
        "ms",
    )
    .record();
    node.stop().await;
}

fn convo(index: usize) -> ConvoId {
    node::convo(index % CONVOS + 1)
}

fn account(index: usize) -> Did {
    node::account(index % SESSIONS + 1)
}

async fn populate(node: &Node) {
    let three_of_each = format!(
        "SELECT (j * 3 + k) % {CONVOS} + 1, j \
         FROM generate_series(1, {SESSIONS}) j, generate_series(0, 2) k"
    );
    node.populate(&three_of_each).await;
    let sends = (0..EVENTS).map(|index| {
        // The first member of that conversation: j * 3 = index.
        let index = index / 3 * 3 % CONVOS;
        let sender = account(if index == 0 {
            CONVOS / 3 - 1
        } else {
            index / 3 - 1
        });
        let message = message(convo(index), sender, 512);
        let store = node.store.clone();
        tokio::spawn(async move {
            while store.append(message.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap();
    }
}

/// Starts a node and brings everybody back at once.
async fn resume(database: &Database, store: &Store, after: u64) -> Duration {
    let shutdown = Shutdown::default();
    let journal = Arc::new(store.clone());
    let hub = Hub::start(journal, Live::new(events::Settings::default()), &shutdown);
    while hub.health().hearing() == Hearing::Blind {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = statements(database).await;
    let begun = Instant::now();
    let sessions = (0..SESSIONS).map(|index| {
        let subscriber = Subscriber {
            did: account(index),
            filter: None,
            hydrate: false,
        };
        let cursor = Cursor::parse(&after.to_string()).ok();
        let mut subscription = hub.subscribe(subscriber, cursor);
        tokio::spawn(async move {
            let mut count = 0;
            loop {
                match subscription.next().await.unwrap() {
                    News::Events(events) => count += events.len(),
                    News::Synced(_) => return count,
                    News::Gap(_) | News::Outdated | News::Ended => {}
                }
            }
        })
    });
    let mut events = 0;
    for session in sessions.collect::<Vec<_>>() {
        events += session.await.unwrap();
    }
    let took = begun.elapsed();
    let asked = statements(database).await - before;
    println!("# {SESSIONS} sessions live in {took:.0?}: {events} events, {asked} transactions");
    shutdown.drain(Duration::ZERO).await;
    took
}

async fn statements(database: &Database) -> i64 {
    // A connection that has just told of its transactions tells of the next ones when it
    // has been idle for ten seconds.
    tokio::time::sleep(Duration::from_secs(11)).await;
    let done = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
    database.count(done).await
}

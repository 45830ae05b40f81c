//! Forgetting a day of a million messages: by the relay's own retention, which drops
//! the day's table, beside deleting the rows and vacuuming after them; and what senders
//! feel of it while it runs.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that cannot go on should stop"
)]

#[allow(dead_code, reason = "each user takes its part")]
#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/node.rs"]
mod node;
#[path = "support/senders.rs"]
mod senders;

use std::time::{Duration, Instant};

use figure::Figure;
use mls_relay::retention::{Retention, Settings};
use mls_relay::runtime::{Live, Shutdown};
use node::Node;
use senders::Senders;

const MESSAGES: usize = 1_000_000;
const CIPHERTEXT: usize = 512;
const CONVOS: usize = 200;
/// Retention is over before a percentile can be taken of one run: these are pooled.
const ROUNDS: usize = 3;

/// Days before today: one that retention takes, one that it leaves alone.
const EXPIRED: u32 = 40;
const KEPT: u32 = 20;

#[tokio::main]
async fn main() {
    let settings = ["shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"];
    let node = Node::start(&settings).await;
    let everyone = format!("SELECT i, i FROM generate_series(1, {CONVOS}) i");
    node.populate(CONVOS, &everyone).await;
    drop_versus_delete(&node).await;
    shift_of_p99(&node).await;
    node.stop().await;
}

/// The time of each, in turns; medians are compared. One statement that deletes all
/// rows, which no cleanup that must not disturb anybody would run, is shown as well.
async fn drop_versus_delete(node: &Node) {
    let (mut drops, mut deletes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        fill(node, EXPIRED).await;
        let dropped = expire(node).await;
        assert_eq!(
            dead_rows(node).await,
            0,
            "dropping a day leaves no dead rows"
        );
        fill(node, KEPT).await;
        let (deleted, left) = delete(node, &row_by_row(KEPT)).await;
        println!(
            "# round {round}: dropped in {dropped:.1?}, 0 dead rows; deleted row by row and \
             vacuumed in {deleted:.1?}, {left} dead rows before the vacuum"
        );
        drops.push(dropped);
        deletes.push(deleted);
        clear(node, KEPT).await;
    }
    fill(node, KEPT).await;
    let (in_bulk, _) = delete(node, &all_at_once(KEPT)).await;
    println!("# deleted by one statement and vacuumed in {in_bulk:.1?}");
    clear(node, KEPT).await;
    let (dropped, deleted) = (millis(median(drops)), millis(median(deletes)));
    Figure {
        name: "retention_partition_drop_vs_delete",
        value: dropped,
        unit: "ms",
        baseline: Some(deleted),
        ratio: Some(dropped / deleted),
        goal: "ratio below 0.01, no dead rows",
    }
    .record();
}

/// The 99th percentile of a send through the append path, of those sends that a run of
/// retention overlaps, beside as many just before. Deleting rows is shown as well.
async fn shift_of_p99(node: &Node) {
    let senders = Senders::start(&node.store, CONVOS, CIPHERTEXT);
    let (mut shifts, mut calm, mut expiring) = (Vec::new(), Vec::new(), Vec::new());
    let (mut before_delete, mut deleting) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        senders.pause();
        fill(node, EXPIRED).await;
        senders.go_on().await;
        // First what senders feel when nothing else goes on.
        let calm_from = Instant::now();
        tokio::time::sleep(CALM).await;
        let from = Instant::now();
        let took = expire(node).await;
        let until = Instant::now();
        let (before, during) = (
            senders.latencies(calm_from, from),
            senders.latencies(from, until),
        );
        let (p99_before, p99_during) = (percentile_99(&before), percentile_99(&during));
        println!(
            "# round {round}: p99 {p99_before:.2?} before ({} sends), {p99_during:.2?} in the \
             {took:.0?} of retention ({} sends)",
            before.len(),
            during.len()
        );
        shifts.push(millis(p99_during) / millis(p99_before));
        calm.extend(before);
        expiring.extend(during);
    }
    senders.pause();
    fill(node, KEPT).await;
    senders.go_on().await;
    let calm_from = Instant::now();
    tokio::time::sleep(CALM).await;
    let from = Instant::now();
    delete(node, &all_at_once(KEPT)).await;
    before_delete.extend(senders.latencies(calm_from, from));
    deleting.extend(senders.latencies(from, Instant::now()));
    println!(
        "# deleting the rows instead: p99 {:.2?} before, {:.2?} meanwhile",
        percentile_99(&before_delete),
        percentile_99(&deleting)
    );
    senders.stop().await;
    shifts.sort_by(f64::total_cmp);
    println!("# the rounds' ratios: {shifts:.2?}");
    let (calm, expiring) = (
        millis(percentile_99(&calm)),
        millis(percentile_99(&expiring)),
    );
    println!("# all sends pooled: p99 {calm:.2} ms before, {expiring:.2} ms during");
    let median = shifts[shifts.len() / 2];
    Figure {
        name: "retention_p99_shift",
        value: expiring,
        unit: "ms",
        baseline: Some(calm),
        ratio: Some(median),
        goal: "median ratio of the rounds below 1.2",
    }
    .record();
}

/// How long senders are watched before retention comes.
const CALM: Duration = Duration::from_secs(2);

/// A day's million messages, that many days ago. Indexes are made when the day is
/// full, which is the same in a fraction of the time.
async fn fill(node: &Node, days_ago: u32) {
    let (day, next, name) = (day(days_ago), day(days_ago - 1), name(node, days_ago).await);
    node.run(&format!(
        "SET synchronous_commit = off;
         CREATE TABLE {name} (LIKE messages INCLUDING ALL EXCLUDING INDEXES);
         INSERT INTO {name} (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                             padded_size, received_at)
             SELECT lpad(to_hex(n % {CONVOS} + 1), 32, '0'), n,
                    '0' || upper(substr(md5(n::text), 1, 25)), 'app', 0,
                    decode(repeat('5a', {CIPHERTEXT}), 'hex'), {CIPHERTEXT}, {CIPHERTEXT},
                    date_bin('2 seconds', {day}::timestamp AT TIME ZONE 'UTC'
                        + n * '80 ms'::interval, 'epoch')
             FROM generate_series(1, {MESSAGES}) n;
         DO $$ BEGIN EXECUTE format(
             'ALTER TABLE messages ATTACH PARTITION {name} FOR VALUES FROM (%L) TO (%L)',
             {day}::timestamp AT TIME ZONE 'UTC', {next}::timestamp AT TIME ZONE 'UTC'); END $$;
         CHECKPOINT"
    ))
    .await;
}

/// The name of a day's table.
async fn name(node: &Node, days_ago: u32) -> String {
    let client = node.database.client().await;
    let sql = format!(
        "SELECT 'messages_' || to_char({}, 'YYYYMMDD')",
        day(days_ago)
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// Runs the relay's retention as a node does at its start, until days have been seen to.
async fn expire(node: &Node) -> Duration {
    let shutdown = Shutdown::default();
    let begun = Instant::now();
    let retention = Retention::start(&node.store, &Live::new(Settings::default()), &shutdown);
    while retention.status().days.runs == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    assert!(retention.status().failing().is_empty());
    let old = format!(
        "SELECT count(*) FROM messages WHERE received_at < {}",
        day(EXPIRED - 1)
    );
    let left = count(node, &old).await;
    assert_eq!(left, 0, "the day is gone");
    shutdown.drain(Duration::ZERO).await;
    took
}

/// Deletes a day's rows and cleans up after them; the time, and the dead rows between.
async fn delete(node: &Node, statement: &str) -> (Duration, i64) {
    let begun = Instant::now();
    node.run(statement).await;
    let deleted = begun.elapsed();
    let left = dead_rows(node).await;
    let begun = Instant::now();
    node.run("VACUUM messages").await;
    (deleted + begun.elapsed(), left)
}

/// Each message by its key, without the way from a client for each.
fn row_by_row(days_ago: u32) -> String {
    format!(
        "DO $$ DECLARE m record; BEGIN
             FOR m IN SELECT convo_id, seq, received_at FROM messages WHERE {} LOOP
                 DELETE FROM messages WHERE convo_id = m.convo_id AND seq = m.seq
                     AND received_at = m.received_at;
             END LOOP;
         END $$",
        within(days_ago)
    )
}

fn all_at_once(days_ago: u32) -> String {
    format!("DELETE FROM messages WHERE {}", within(days_ago))
}

fn within(days_ago: u32) -> String {
    let (since, until) = (day(days_ago), day(days_ago - 1));
    format!("received_at >= {since} AND received_at < {until}")
}

/// Takes away what is left of a day.
async fn clear(node: &Node, days_ago: u32) {
    let name = name(node, days_ago).await;
    node.run(&format!("DROP TABLE {name}")).await;
}

/// Rows of messages that are deleted but still take room.
async fn dead_rows(node: &Node) -> i64 {
    // What other connections did arrives in the shared view within a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    count(
        node,
        "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
         WHERE relname LIKE 'messages%'",
    )
    .await
}

async fn count(node: &Node, sql: &str) -> i64 {
    let client = node.database.client().await;
    client.query_one(sql, &[]).await.unwrap().get(0)
}

fn day(days_ago: u32) -> String {
    format!("((now() AT TIME ZONE 'UTC')::date - {days_ago})")
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn percentile_99(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() * 99 / 100]
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

//! Forgetting a day of a million messages: by the relay's own retention, which drops
//! the day's table, beside deleting the rows and vacuuming after them; and what senders
//! feel of it while it runs.
//!
//! A day that is forgotten is a month old, so it lies on the disk and in no cache: Postgres
//! is started anew before each. Its data is on a file system without the mount option
//! `discard`, as docs/operations.md recommends; `-- here` measures in `/tmp` instead.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/node.rs"]
mod node;
#[path = "support/senders.rs"]
mod senders;
#[path = "support/volume.rs"]
mod volume;

use std::time::{Duration, Instant};

use database::Database;
use figure::{Figure, median, quantiles};
use mls_relay::retention::{Retention, Settings};
use mls_relay::runtime::{Live, Shutdown};
use node::Node;
use senders::Senders;
use volume::Volume;

const MESSAGES: usize = 1_000_000;
const CIPHERTEXT: usize = 512;
const CONVOS: usize = 200;
const ROUNDS: usize = 3;
const ROUNDS_OF_P99: usize = 5;

/// The last days have tables, as where a relay ran: without, time seems to have made a leap, after
/// which nothing old is forgotten.
const LATELY: &str = "SELECT ensure_partition('messages', (now() AT TIME ZONE 'UTC')::date - i)
    FROM generate_series(1, 7) i";

/// Days before today: one that retention takes, one that it leaves alone.
const EXPIRED: u32 = 40;
const KEPT: u32 = 20;

#[tokio::main]
async fn main() {
    let settings = ["shared_buffers=512MB", "max_wal_size=4GB", "autovacuum=off"];
    let volume = match std::env::args().any(|word| word == "here") {
        true => None,
        false => Some(Volume::new(VOLUME_GIB)),
    };
    let place = volume.as_ref().map_or("/tmp".into(), Volume::path);
    let mut node = Node::on(Database::within(&place, &settings).await).await;
    let everyone = format!("SELECT i, i FROM generate_series(1, {CONVOS}) i");
    node.populate(&everyone).await;
    node.database.run(LATELY).await;
    drop_versus_delete(&mut node).await;
    shift_of_p99(&mut node).await;
    node.stop().await;
}

/// The time of each, in turns; medians are compared. One statement that deletes all
/// rows, which no cleanup that must not disturb anybody would run, is shown as well.
async fn drop_versus_delete(node: &mut Node) {
    let (mut drops, mut deletes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        fill(node, EXPIRED).await;
        let Run {
            worked: dropped, ..
        } = expire(node, Duration::ZERO).await;
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
        drops.push(millis(dropped));
        deletes.push(millis(deleted));
        clear(node, KEPT).await;
    }
    fill(node, KEPT).await;
    let (in_bulk, _) = delete(node, &all_at_once(KEPT)).await;
    println!("# deleted by one statement and vacuumed in {in_bulk:.1?}");
    clear(node, KEPT).await;
    Figure::new("retention_partition_drop_vs_delete", median(drops), "ms")
        .over(median(deletes))
        .goal("ratio below 0.01, no dead rows")
        .record();
}

/// The 99th percentile of a send through the append path while retention runs as it does
/// by default, beside as long a time just before. Deleting rows is shown as well.
async fn shift_of_p99(node: &mut Node) {
    let senders = Senders::start(&node.store, CONVOS, CIPHERTEXT);
    let (mut shifts, mut calm, mut expiring) = (Vec::new(), Vec::new(), Vec::new());
    let pause = Settings::default().pause;
    for round in 0..ROUNDS_OF_P99 {
        senders.pause();
        fill(node, EXPIRED).await;
        senders.go_on().await;
        // First what senders feel when nothing else goes on.
        let calm_from = Instant::now();
        tokio::time::sleep(pause).await;
        let from = Instant::now();
        let Run { took, worked } = expire(node, pause).await;
        let until = Instant::now();
        let before = senders.latencies(calm_from, from);
        let during = senders.latencies(from, until);
        let [was, is] = [&before, &during].map(|times| quantiles(times.iter().copied()));
        println!(
            "# round {round}: {was} before ({} sends); {is} in the {took:.1?} of retention, \
             {worked:.0?} of them at work ({} sends)",
            was.count, is.count
        );
        shifts.push(is.p99_ms / was.p99_ms);
        calm.extend(before);
        expiring.extend(during);
    }
    senders.pause();
    fill(node, KEPT).await;
    senders.go_on().await;
    let calm_from = Instant::now();
    tokio::time::sleep(pause).await;
    let from = Instant::now();
    delete(node, &all_at_once(KEPT)).await;
    println!(
        "# deleting the rows instead: {} before; {} meanwhile",
        quantiles(senders.latencies(calm_from, from)),
        quantiles(senders.latencies(from, Instant::now()))
    );
    senders.stop().await;
    let (calm, expiring) = (quantiles(calm), quantiles(expiring));
    println!("# all rounds: {calm} before; {expiring} during");
    Figure::new("retention_p99_shift", expiring.p99_ms, "ms")
        .over(calm.p99_ms)
        .ratio(median(shifts))
        .goal("median ratio of the rounds below 1.2")
        .record();
}

/// Room for a day, the log of its writing, and the rest.
const VOLUME_GIB: u32 = 12;

/// A day's million messages, that many days ago, on the disk only. Indexes are made when
/// the day is full, which is the same in a fraction of the time.
async fn fill(node: &mut Node, days_ago: u32) {
    let (day, next, name) = (day(days_ago), day(days_ago - 1), name(node, days_ago).await);
    node.database
        .run(&format!(
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
    node.database.down("fast");
    node.database.leave_caches();
    node.database.up().await;
}

/// The name of a day's table.
async fn name(node: &Node, days_ago: u32) -> String {
    let name = format!(
        "SELECT 'messages_' || to_char({}, 'YYYYMMDD')",
        day(days_ago)
    );
    node.database.one(&name, &[]).await
}

/// How long a run of retention took, and how much of that it was at work.
struct Run {
    took: Duration,
    worked: Duration,
}

/// Runs the relay's retention as a node does at its start, until days have been seen to.
async fn expire(node: &Node, pause: Duration) -> Run {
    let shutdown = Shutdown::default();
    let settings = Settings {
        pause,
        ..Settings::default()
    };
    let begun = Instant::now();
    let retention = Retention::start(&node.store, &Live::new(settings), &shutdown);
    while retention.status().days.runs == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    assert!(retention.status().failing().is_empty());
    let old = format!(
        "SELECT count(*) FROM messages WHERE received_at < {}",
        day(EXPIRED - 1)
    );
    let left = node.database.count(&old).await;
    assert_eq!(left, 0, "the day is gone");
    shutdown.drain(Duration::ZERO).await;
    Run {
        took,
        worked: retention.status().days.worked,
    }
}

/// Deletes a day's rows and cleans up after them; the time, and the dead rows between.
async fn delete(node: &Node, statement: &str) -> (Duration, i64) {
    let begun = Instant::now();
    node.database.run(statement).await;
    let deleted = begun.elapsed();
    let left = dead_rows(node).await;
    let begun = Instant::now();
    node.database.run("VACUUM messages").await;
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
    node.database.run(&format!("DROP TABLE {name}")).await;
}

/// Rows of messages that are deleted but still take room.
async fn dead_rows(node: &Node) -> i64 {
    // What other connections did arrives in the shared view within a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let dead = "SELECT coalesce(sum(n_dead_tup), 0)::bigint FROM pg_stat_user_tables
        WHERE relname LIKE 'messages%'";
    node.database.count(dead).await
}

fn day(days_ago: u32) -> String {
    format!("((now() AT TIME ZONE 'UTC')::date - {days_ago})")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

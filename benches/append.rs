//! Sends a second through the relay's append path, beside the usual design (one
//! transaction a send, notifying inside) and beside pgbench calling the same SQL in
//! batches, all on one Postgres with fsync on.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/node.rs"]
mod node;
#[path = "support/usual.rs"]
mod usual;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use database::Database;
use figure::Figure;
use mls_relay::store::Store;
use mls_relay::types::{CoarseTime, ConvoId, Did, MessageId};
use node::{Node, message};
use usual::{USUAL_SCHEMA, Usual};

const CONVOS: usize = 200;
const MEMBERS: usize = 50;
const CIPHERTEXT: usize = 1024;
const RUN: Duration = Duration::from_secs(4);
const BATCH: usize = 64;

#[tokio::main]
async fn main() {
    let node = Node::start(&["shared_buffers=512MB", "max_wal_size=4GB"]).await;
    populate(&node).await;
    let (database, store) = (&node.database, &node.store);

    let mut usual: f64 = 0.0;
    for clients in [1, 4, 16] {
        let rate = usual_design(database, clients).await;
        println!("# one transaction a send, {clients} clients: {rate:.0} sends/s");
        usual = usual.max(rate);
    }
    let mut ours: f64 = 0.0;
    for senders in [64, 256] {
        let rate = append_path(store, senders).await;
        println!("# append path, {senders} senders waiting: {rate:.0} sends/s");
        ours = ours.max(rate);
    }
    let ceiling = pgbench(database).await;
    println!("# pgbench, batches of {BATCH} on 2 connections: {ceiling:.0} sends/s");
    Figure::new("append_vs_notify_per_transaction", ours, "sends/s")
        .over(usual)
        .goal("ratio at least 5, aim 8")
        .record();
    Figure::new("append_vs_pgbench_batched", ours, "sends/s")
        .over(ceiling)
        .goal("ratio at least 0.8")
        .record();
    node.stop().await;
}

fn convo(index: usize) -> ConvoId {
    node::convo(index % CONVOS + 1)
}

fn member(index: usize) -> Did {
    node::account(index % MEMBERS + 1)
}

async fn populate(node: &Node) {
    let everyone =
        format!("SELECT i, j FROM generate_series(1, {CONVOS}) i, generate_series(1, {MEMBERS}) j");
    node.populate(&everyone).await;
    node.database.run(&format!(
            "CREATE SEQUENCE bench_batch; {USUAL_SCHEMA};
             CREATE TABLE bench_batches AS
                 SELECT b AS id, array_agg(lpad(to_hex((b * 7 + i) % {CONVOS} + 1), 32, '0')) AS convos,
                        array_agg('did:plc:' || lpad(((b + i) % {MEMBERS} + 1)::text, 24, '0')) AS users,
                        array_agg('0' || upper(substr(md5(b || '.' || i), 1, 25))) AS ids
                 FROM generate_series(1, 8000) b, generate_series(1, {BATCH}) i GROUP BY b;
             ALTER TABLE bench_batches ADD PRIMARY KEY (id);
             ANALYZE"
    ))
    .await;
}

/// Counts what `clients` concurrent loops finish within [`RUN`], per second.
async fn rate<F, G>(clients: usize, one: F) -> f64
where
    F: Fn(usize, usize) -> G + Clone + Send + 'static,
    G: Future<Output = ()> + Send,
{
    let done = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let loops = (0..clients).map(|client| {
        let (done, one) = (Arc::clone(&done), one.clone());
        tokio::spawn(async move {
            for turn in 0.. {
                if started.elapsed() >= RUN {
                    break;
                }
                one(client, turn).await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for task in loops.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

async fn append_path(store: &Store, senders: usize) -> f64 {
    let store = store.clone();
    rate(senders, move |client, turn| {
        let store = store.clone();
        async move {
            let (convo, sender) = (convo(client * 31 + turn), member(client + turn));
            let message = message(convo, sender, CIPHERTEXT);
            store.append(message).await.unwrap();
        }
    })
    .await
}

/// One transaction a send.
async fn usual_design(database: &Database, clients: usize) -> f64 {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Usual::connect(&database.url()).await);
    }
    let connections = Arc::new(connections);
    let ciphertext = Arc::new(vec![0x5a_u8; CIPHERTEXT]);
    rate(clients, move |client, turn| {
        let (connections, ciphertext) = (Arc::clone(&connections), Arc::clone(&ciphertext));
        async move {
            let (convo, member) = (convo(client * 31 + turn), member(client + turn));
            let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
            let send = usual::Send {
                convo: convo.expose(),
                sender: member.expose(),
                id: id.expose(),
                epoch: 0,
                ciphertext: &ciphertext,
            };
            let sent = connections[client].send(&send).await.unwrap();
            assert!(sent.is_some());
        }
    })
    .await
}

/// The same SQL as the append path, called by pgbench with ready-made batches.
async fn pgbench(database: &Database) -> f64 {
    let script = std::env::temp_dir().join(format!("mls-relay-append-{}.sql", std::process::id()));
    std::fs::write(
        &script,
        format!(
            "SELECT count(a.outcome) FROM bench_batches b, append_messages(b.convos, b.users, b.ids, \
             array_fill(0::bigint, ARRAY[{BATCH}]), \
             array_fill(decode(repeat('5a', {CIPHERTEXT}), 'hex'), ARRAY[{BATCH}]), \
             array_fill(NULL::bytea, ARRAY[{BATCH}]), array_fill(NULL::timestamptz, ARRAY[{BATCH}]), \
             '1 day', false) a \
             WHERE b.id = (SELECT nextval('bench_batch'));\n"
        ),
    )
    .unwrap();
    let url = database.url();
    let output = Command::new(database.binary("pgbench"))
        // As the relay's committers plan.
        .env(
            "PGOPTIONS",
            "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_bitmapscan=off \
             -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off",
        )
        .args([
            "-n",
            "-c",
            "2",
            "-j",
            "2",
            "-T",
            &RUN.as_secs().to_string(),
            "-f",
        ])
        .arg(&script)
        .arg(&url)
        .output()
        .unwrap();
    std::fs::remove_file(&script).unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let tps = report
        .lines()
        .find_map(|line| line.strip_prefix("tps = "))
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_else(|| {
            panic!(
                "pgbench failed: {}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
    tps.parse::<f64>().unwrap() * BATCH as f64
}

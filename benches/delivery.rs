//! From a request to a delivery: a relay as a process, with senders over TLS and HTTP and
//! subscribers over TLS and WebSocket, idle and at shares of its peak, beside a competent
//! relay of the usual design on the same Postgres at the same rates.
//!
//! Needs the release binaries: `make bench` builds them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "../tests/support/database.rs"]
mod database;
#[path = "support/figure.rs"]
mod figure;
#[path = "support/naive.rs"]
mod naive;
#[path = "support/own_server.rs"]
mod own_server;
#[path = "support/pair.rs"]
mod pair;
#[path = "support/people.rs"]
mod people;
#[path = "support/processor.rs"]
mod processor;
#[path = "support/server.rs"]
mod server;
#[path = "support/timeline.rs"]
mod timeline;
#[path = "support/usual.rs"]
mod usual;

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use figure::{Figure, quantiles};
use mls_relay_loadtest::load::report::Quantiles;
use mls_relay_loadtest::load::tally::number_of;
use pair::Pair;
use processor::Shares;
use server::Server;

const RUN: Duration = Duration::from_secs(10);
/// Senders at work while the peak is looked for, and how much each sends.
const SENDERS: [usize; 3] = [16, 64, 256];
const SENDS_EACH: usize = 100;
const POOLS: [usize; 3] = [4, 8, 16];
const LONE_SENDS: usize = 300;
/// Until connections have prepared what they run.
const WARM_UP: usize = 20;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, url, pool, certificate] = arguments.as_slice()
        && word == "naive"
    {
        return naive::serve(url, pool.parse().unwrap(), Path::new(certificate)).await;
    }
    let pair = Pair::start().await;
    let relay = pair.relay().await;
    idle(&pair, &relay).await;
    // `cargo bench --bench delivery -- idle`: that was all.
    if arguments.iter().any(|word| word == "idle") {
        return;
    }
    let (peak, shares) = peak(&relay).await;
    let (pool, naive_peak) = best_pool(&pair).await;
    Figure::new("sends_through_the_edge", peak, "sends/s")
        .over(naive_peak)
        .record();
    let edge = shares.server / (shares.server + shares.postgres + shares.generator);
    Figure::new("edge_share_of_cpu_at_peak", edge, "of all used").record();

    let (_process, naive) = pair.naive(pool).await;
    for percent in [10, 50, 80] {
        let rate = peak * f64::from(percent) / 100.0;
        let ours = busy(&relay, percent, rate).await;
        let usual = busy(&naive, percent, rate).await;
        // On a machine with other work, the peak may be another by now.
        let Some((numbers, ours)) = ours else {
            continue;
        };
        latencies(percent, &ours, usual.map(|(_, usual)| usual).as_ref());
        if percent == 50 {
            commit_to_delivery(&pair, &relay, numbers).await;
        }
    }
}

/// The most sends a second, and who used the machine meanwhile.
async fn peak(server: &Server) -> (f64, Shares) {
    server.closed_loop(64, 2_000).await;
    let mut best: Option<(f64, Shares)> = None;
    for senders in SENDERS {
        let (rate, shares) = server.closed_loop(senders, senders * SENDS_EACH).await;
        println!(
            "# {}, {senders} senders: {rate:.0} sends/s; {shares}",
            server.name
        );
        if best.is_none_or(|(most, _)| rate > most) {
            best = Some((rate, shares));
        }
    }
    best.unwrap()
}

/// The size of the naive one's pool that gives it most.
async fn best_pool(pair: &Pair) -> (usize, f64) {
    let mut best = (0, 0.0);
    for pool in POOLS {
        let (_process, server) = pair.naive(pool).await;
        println!("# a pool of {pool}:");
        let (rate, _) = peak(&server).await;
        if rate > best.1 {
            best = (pool, rate);
        }
    }
    best
}

/// One send at a time, between pauses, in turn with what it is compared with: a commit
/// of one row and a hop over TLS.
async fn idle(pair: &Pair, relay: &Server) {
    let (_process, naive) = pair.naive(1).await;
    let client = pair.database.client().await;
    client
        .batch_execute("CREATE TABLE bench_rows (value text)")
        .await
        .unwrap();
    let insert = client
        .prepare("INSERT INTO bench_rows VALUES ($1)")
        .await
        .unwrap();
    let value = "x".repeat(1024);
    let (mut commits, mut hops) = (Vec::new(), Vec::new());
    let (mut to_relay, mut to_naive) = (relay.sender().await, naive.sender().await);
    let (mut ours, mut usual) = (Vec::new(), Vec::new());
    for _ in 0..WARM_UP {
        relay.send_one(&mut to_relay).await;
        naive.send_one(&mut to_naive).await;
    }
    for _ in 0..LONE_SENDS {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        client.execute(&insert, &[&value]).await.unwrap();
        commits.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
        hops.push(relay.hop(&mut to_relay).await);
        tokio::time::sleep(PAUSE).await;
        ours.push(relay.send_one(&mut to_relay).await);
        tokio::time::sleep(PAUSE).await;
        usual.push(naive.send_one(&mut to_naive).await);
    }
    let (commit, hop) = (quantiles(commits), quantiles(hops));
    println!("# one row committed: {commit}; a hop: {hop}");
    let of = |server: &Server, numbers: &[usize]| {
        let numbers = numbers[0]..numbers[numbers.len() - 1] + 1;
        let answers = server.timeline.answers(numbers.clone());
        let deliveries = server.timeline.deliveries_of(numbers);
        println!(
            "# {}, idle: answers {answers}; deliveries {deliveries}",
            server.name
        );
        deliveries.p50_ms
    };
    let since_commit = since_commit(pair, relay, ours[0]..ours[LONE_SENDS - 1] + 1).await;
    println!("# the relay, idle: from the commit to a delivery {since_commit}");
    let (ours, usual) = (of(relay, &ours), of(&naive, &usual));
    Figure::new("send_to_delivery_idle_p50_ms", ours, "ms")
        .under(usual)
        .record();
    Figure::new("send_to_delivery_idle_vs_commit_and_hop", ours, "ms")
        .over(commit.p50_ms + hop.p50_ms)
        .goal("ratio at most 1.3")
        .record();
}

/// Deliveries at this rate; none if the server does not keep up.
async fn busy(server: &Server, percent: u32, rate: f64) -> Option<(Range<usize>, Quantiles)> {
    let run = server.open_loop(rate, RUN).await;
    let answers = server.timeline.answers(run.numbers.clone());
    let deliveries = server.timeline.deliveries_of(run.numbers.clone());
    let (name, shares) = (server.name, run.shares);
    println!(
        "# {name} at {percent} %, {rate:.0} sends/s: answers {answers}; deliveries {deliveries}; \
         {shares}"
    );
    if !run.is_whole {
        let reached = run.rate;
        println!("# {name} does not keep up: {reached:.0} of {rate:.0} sends/s");
        return None;
    }
    Some((run.numbers, deliveries))
}

type Measure = fn(&Quantiles) -> f64;

fn latencies(percent: u32, ours: &Quantiles, usual: Option<&Quantiles>) {
    let measures: [(&str, Measure); 3] = [
        ("p50", |quantiles| quantiles.p50_ms),
        ("p99", |quantiles| quantiles.p99_ms),
        ("p999", |quantiles| quantiles.p999_ms),
    ];
    for (name, of) in measures {
        let name = format!("send_to_delivery_{percent}_{name}_ms");
        Figure::new(&name, of(ours), "ms")
            .under(usual.map(of))
            .record();
    }
    let name = format!("send_to_delivery_{percent}_p99_vs_p50");
    let goal = if percent == 80 { "ratio under 5" } else { "" };
    Figure::new(&name, ours.p99_ms, "ms")
        .over(ours.p50_ms)
        .goal(goal)
        .record();
}

/// From when Postgres began to commit, by its own clock and before it waits for the
/// disk, until a socket had the event.
async fn since_commit(pair: &Pair, relay: &Server, numbers: Range<usize>) -> Quantiles {
    let sql = "SELECT msg_id, (extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1e6)::bigint \
               FROM messages";
    let rows = pair.database.client().await.query(sql, &[]).await.unwrap();
    let commits = rows.iter().filter_map(|row| {
        let number = number_of(row.get(0)).filter(|number| numbers.contains(number))?;
        Some((number, row.get(1)))
    });
    relay
        .timeline
        .deliveries_since(&commits.collect::<Vec<_>>())
}

async fn commit_to_delivery(pair: &Pair, relay: &Server, numbers: Range<usize>) {
    let deliveries = since_commit(pair, relay, numbers).await;
    Figure::new("commit_to_delivery_50_p50_ms", deliveries.p50_ms, "ms")
        .goal("under 1.5")
        .record();
    Figure::new("commit_to_delivery_50_p99_ms", deliveries.p99_ms, "ms")
        .goal("under 10")
        .record();
}

const PAUSE: Duration = Duration::from_millis(5);

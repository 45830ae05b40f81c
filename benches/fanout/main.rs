//! Fan-out, side by side: the relay, a bare broadcaster that only encrypts and writes
//! (the floor), nchan, `ws` on Node, NATS and Bun, each as a process on one core, with the
//! same subscribers on the other, the same events and the same cipher.
//!
//! Deliveries a CPU second count the server's process alone. The relay is measured twice:
//! with events that come in through another node on the same Postgres, so that the
//! process only delivers, as its peers do; and with all calls of `sendMessage` included.
//!
//! Needs the release binaries and the peers: `make bench` builds and installs them. A
//! peer that is not there is named as missing. Arguments name servers to measure only
//! those, and the relay.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement that cannot go on should stop"
)]

mod contest;
mod crowd;
#[allow(dead_code, reason = "each user takes its part")]
#[path = "../../tests/support/database.rs"]
mod database;
#[path = "../support/figure.rs"]
mod figure;
#[allow(dead_code, reason = "each user takes its part")]
#[path = "../support/node.rs"]
mod node;
mod peers;
mod relay;
mod server;
mod stream;

use std::time::Duration;

use contest::{Cost, at_rate, warm_up, window};
use crowd::Crowd;
use figure::Figure;
use mls_relay_loadtest::load::report::Quantiles;
use relay::Entrance;
use server::{OTHER_CORE, Server, keep_to};

/// One large conversation, or many small ones.
const LARGE: (usize, usize) = (1, 1000);
const SMALL: (usize, usize) = (100, 10);
const SMALL_RATE: f64 = 500.0;

const RUN: Duration = Duration::from_secs(5);
const SMALL_RUN: Duration = Duration::from_secs(10);
/// What connecting took for a moment only has gone back by then.
const SETTLE: Duration = Duration::from_secs(2);

/// What one server did.
struct Result {
    name: &'static str,
    event_len: usize,
    kib_per_socket: f64,
    one: Cost,
    eight: Cost,
    half: Quantiles,
    small_cpu: f64,
    small: Quantiles,
}

fn main() {
    keep_to(OTHER_CORE);
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<_> = wanted
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(side_by_side(|name| {
        wanted.is_empty() || wanted.iter().any(|word| *word == name)
    }));
}

async fn side_by_side(is_wanted: impl Fn(&str) -> bool) {
    let ours = relay_result(Entrance::AnotherNode).await;
    println!("# events are {} bytes for everyone", ours.event_len);
    ours.print();
    let calls = match is_wanted("calls") {
        true => Some(relay_result(Entrance::Calls).await),
        false => None,
    };
    calls.iter().for_each(Result::print);
    let mut others = Vec::new();
    for name in peers::NAMES.into_iter().filter(|name| is_wanted(name)) {
        match peer_result(name, ours.event_len).await {
            Ok(result) => {
                result.print();
                others.push(result);
            }
            Err(missing) => println!("# MISSING: {name}: {missing}"),
        }
    }
    record(&ours, calls.as_ref(), &others);
}

async fn relay_result(entrance: Entrance) -> Result {
    let large = relay::start(entrance, LARGE.0, LARGE.1).await;
    let large = measure_large(large).await;
    let small = relay::start(entrance, SMALL.0, SMALL.1).await;
    large.with(measure_small(small).await)
}

async fn peer_result(name: &'static str, len: usize) -> std::result::Result<Result, String> {
    let large = measure_large(peers::start(name, len).await?).await;
    Ok(large.with(measure_small(peers::start(name, len).await?).await))
}

struct Large {
    name: &'static str,
    event_len: usize,
    kib_per_socket: f64,
    one: Cost,
    eight: Cost,
    half: Quantiles,
}

async fn measure_large(server: Server) -> Large {
    let empty = server.usage();
    let mut crowd = Crowd::gather(&server, LARGE.0, LARGE.1).await;
    tokio::time::sleep(SETTLE).await;
    let grown = server.usage().resident_kib - empty.resident_kib.min(server.usage().resident_kib);
    warm_up(&server, &mut crowd).await;
    let one = window(&server, &mut crowd, 1, RUN).await;
    let eight = window(&server, &mut crowd, 8, RUN).await;
    let (_, half) = at_rate(&server, &mut crowd, eight.events_a_second() / 2.0, RUN).await;
    Large {
        name: server.name,
        event_len: crowd.board.event_len(),
        kib_per_socket: grown as f64 / LARGE.1 as f64,
        one,
        eight,
        half,
    }
}

async fn measure_small(server: Server) -> (Cost, Quantiles) {
    let mut crowd = Crowd::gather(&server, SMALL.0, SMALL.1).await;
    tokio::time::sleep(SETTLE).await;
    warm_up(&server, &mut crowd).await;
    at_rate(&server, &mut crowd, SMALL_RATE, SMALL_RUN).await
}

impl Large {
    fn with(self, (cost, small): (Cost, Quantiles)) -> Result {
        Result {
            name: self.name,
            event_len: self.event_len,
            kib_per_socket: self.kib_per_socket,
            one: self.one,
            eight: self.eight,
            half: self.half,
            small_cpu: cost.cpu_seconds,
            small,
        }
    }
}

impl Result {
    fn print(&self) {
        println!(
            "# {:<22} one at a time {:>7.0}/cpu-s ({:>4.0} events/s)  eight {:>7.0}/cpu-s ({:>4.0} \
             events/s)  half of peak p50 {:>6.2} p99 {:>6.2} ms  100x10 {:>5.2} cpu-s p50 {:>5.2} \
             p99 {:>6.2} ms  {:>5.1} KiB a socket",
            self.name,
            self.one.per_cpu_second(),
            self.one.events_a_second(),
            self.eight.per_cpu_second(),
            self.eight.events_a_second(),
            self.half.p50_ms,
            self.half.p99_ms,
            self.small_cpu,
            self.small.p50_ms,
            self.small.p99_ms,
            self.kib_per_socket,
        );
    }
}

fn record(ours: &Result, calls: Option<&Result>, others: &[Result]) {
    figure(
        "fanout_deliveries_per_cpu_second_w1",
        ours.one.per_cpu_second(),
        "1/s",
        None,
        "",
    );
    figure(
        "fanout_deliveries_per_cpu_second_w8",
        ours.eight.per_cpu_second(),
        "1/s",
        None,
        "",
    );
    for other in others {
        let name = other.name;
        let (goal_one, goal_eight) = match name {
            "floor" => ("ratio at least 0.95", ""),
            "bun" => ("ratio at least 1", ""),
            "nats" => ("", "ratio above 1"),
            _ => ("", ""),
        };
        let (one, theirs) = (ours.one.per_cpu_second(), other.one.per_cpu_second());
        figure(
            &format!("fanout_vs_{name}_w1"),
            one,
            "1/s",
            Some(theirs),
            goal_one,
        );
        let (eight, theirs) = (ours.eight.per_cpu_second(), other.eight.per_cpu_second());
        figure(
            &format!("fanout_vs_{name}_w8"),
            eight,
            "1/s",
            Some(theirs),
            goal_eight,
        );
    }
    figure(
        "fanout_delivery_p99_ms",
        ours.half.p99_ms,
        "ms",
        None,
        "below 8 at half of peak",
    );
    let floor = others.iter().find(|other| other.name == "floor");
    let floor = floor.map(|floor| floor.small_cpu);
    figure(
        "small_groups_cpu_seconds",
        ours.small_cpu,
        "s in 10 s",
        floor,
        "ratio at most 1.3",
    );
    if let Some(calls) = calls {
        let name = "fanout_with_sends_per_cpu_second";
        figure(
            &format!("{name}_w1"),
            calls.one.per_cpu_second(),
            "1/s",
            None,
            "",
        );
        figure(
            &format!("{name}_w8"),
            calls.eight.per_cpu_second(),
            "1/s",
            None,
            "",
        );
        let name = "small_groups_with_sends_cpu_seconds";
        figure(name, calls.small_cpu, "s in 10 s", floor, "");
    }
}

/// One figure, beside the same of another server.
fn figure(name: &str, value: f64, unit: &str, baseline: Option<f64>, goal: &str) {
    Figure {
        name,
        value,
        unit,
        baseline,
        ratio: baseline.map(|baseline| value / baseline),
        goal,
    }
    .record();
}

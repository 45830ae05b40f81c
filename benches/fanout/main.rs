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
#[path = "../../tests/support/database.rs"]
mod database;
#[path = "../support/figure.rs"]
mod figure;
#[path = "../support/node.rs"]
mod node;
mod peers;
mod phone_socket;
mod relay;
mod server;
mod stream;

use std::time::Duration;

use contest::{Cost, Delay, at_rate, warm_up, window};
use crowd::Crowd;
use figure::Figure;
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
struct Score {
    name: &'static str,
    large: Large,
    small: Cost,
    small_delay: Delay,
}

/// The same with one large conversation: events one at a time, and eight under way.
struct Large {
    event_len: usize,
    kib_per_socket: f64,
    one: Window,
    eight: Window,
}

/// So many events under way, and then half as many a second as that came to.
struct Window {
    cost: Cost,
    half: Delay,
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
    let ours = relay_score(Entrance::AnotherNode).await;
    println!("# events are {} bytes for everyone", ours.large.event_len);
    ours.print();
    let mut others = Vec::new();
    if is_wanted("calls") {
        let calls = relay_score(Entrance::Calls).await;
        calls.print();
        others.push(calls);
    }
    for name in peers::NAMES.into_iter().filter(|name| is_wanted(name)) {
        match peer_score(name, ours.large.event_len).await {
            Ok(score) => {
                score.print();
                others.push(score);
            }
            Err(missing) => println!("# MISSING: {name}: {missing}"),
        }
    }
    record(&ours, &others);
}

async fn relay_score(entrance: Entrance) -> Score {
    let (groups, members) = LARGE;
    let large = relay::start(entrance, groups, members).await;
    let (name, large) = (large.name, measure_large(large).await);
    let (groups, members) = SMALL;
    let small = measure_small(relay::start(entrance, groups, members).await);
    Score::new(name, large, small.await)
}

async fn peer_score(name: &'static str, len: usize) -> Result<Score, String> {
    let large = measure_large(peers::start(name, len).await?).await;
    let small = measure_small(peers::start(name, len).await?);
    Ok(Score::new(name, large, small.await))
}

async fn measure_large(server: Server) -> Large {
    let empty = server.usage().resident_kib;
    let (groups, members) = LARGE;
    let mut crowd = Crowd::gather(&server, groups, members).await;
    tokio::time::sleep(SETTLE).await;
    let grown = server.usage().resident_kib.saturating_sub(empty);
    warm_up(&server, &mut crowd).await;
    let one = window(&server, &mut crowd, 1, RUN).await;
    let eight = window(&server, &mut crowd, 8, RUN).await;
    let (_, one_half) = at_rate(&server, &mut crowd, one.events_a_second() / 2.0, RUN).await;
    let (_, eight_half) = at_rate(&server, &mut crowd, eight.events_a_second() / 2.0, RUN).await;
    Large {
        event_len: crowd.board.event_len(),
        kib_per_socket: grown as f64 / (groups * members) as f64,
        one: Window {
            cost: one,
            half: one_half,
        },
        eight: Window {
            cost: eight,
            half: eight_half,
        },
    }
}

async fn measure_small(server: Server) -> (Cost, Delay) {
    let (groups, members) = SMALL;
    let mut crowd = Crowd::gather(&server, groups, members).await;
    tokio::time::sleep(SETTLE).await;
    warm_up(&server, &mut crowd).await;
    at_rate(&server, &mut crowd, SMALL_RATE, SMALL_RUN).await
}

impl Score {
    fn new(name: &'static str, large: Large, (small, small_delay): (Cost, Delay)) -> Self {
        Self {
            name,
            large,
            small,
            small_delay,
        }
    }

    fn print(&self) {
        let large = &self.large;
        println!("# {}, {:.1} KiB a socket:", self.name, large.kib_per_socket);
        for (what, Window { cost, half }) in [
            ("one at a time", &large.one),
            ("eight under way", &large.eight),
        ] {
            println!(
                "#   {what}: {:.0} deliveries a CPU second, {:.0} events/s; at half of that {half}",
                cost.per_cpu_second(),
                cost.events_a_second(),
            );
        }
        println!(
            "#   100 x 10: {:.2} CPU seconds in 10 s, {}",
            self.small.cpu_seconds, self.small_delay,
        );
    }
}

fn record(ours: &Score, others: &[Score]) {
    type Of = fn(&Score) -> &Window;
    let windows: [(&str, Of); 2] = [
        ("w1", |score| &score.large.one),
        ("w8", |score| &score.large.eight),
    ];
    for (window, of) in windows {
        let rate = |score| of(score).cost.per_cpu_second();
        let name = format!("fanout_deliveries_per_cpu_second_{window}");
        figure(&name, rate(ours), "1/s", None, "");
        for other in others {
            let goal = match (other.name, window) {
                ("floor", "w1") => "ratio at least 0.95",
                ("bun", "w1") => "ratio at least 1",
                ("nats", "w8") => "ratio above 1",
                _ => "",
            };
            let name = format!("fanout_vs_{}_{window}", other.name);
            figure(&name, rate(ours), "1/s", Some(rate(other)), goal);
        }
        let beside = floor(others).map(|floor| of(floor).half);
        let name = format!("fanout_delivery_p99_ms_{window}");
        let (ours, floor) = (of(ours).half, beside.map(|half| half.come.p99_ms));
        figure(
            &name,
            ours.come.p99_ms,
            "ms",
            floor,
            "below 8 at half of peak",
        );
        let name = format!("fanout_first_to_each_p99_ms_{window}");
        let floor = beside.map(|half| half.spread.p99_ms);
        figure(&name, ours.spread.p99_ms, "ms", floor, "");
    }
    let floor = floor(others).map(|floor| floor.small.cpu_seconds);
    let (name, cpu) = ("fanout_small_groups_cpu_seconds", ours.small.cpu_seconds);
    figure(name, cpu, "s in 10 s", floor, "ratio at most 1.3");
}

fn floor(others: &[Score]) -> Option<&Score> {
    others.iter().find(|other| other.name == "floor")
}

/// One figure, beside the same of another server.
fn figure(name: &str, value: f64, unit: &str, baseline: Option<f64>, goal: &str) {
    Figure::new(name, value, unit)
        .over(baseline)
        .goal(goal)
        .record();
}

//! What every server has to do: events one at a time, some at a time, and at a rate.

use std::fmt;
use std::pin::pin;
use std::time::{Duration, Instant};

use mls_relay_loadtest::load::pace::until;
use mls_relay_loadtest::load::report::Quantiles;
use mls_relay_loadtest::load::tally::Latencies;

use crate::crowd::Crowd;
use crate::server::Server;

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) events: usize,
    pub(crate) deliveries: usize,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

/// How long after its time an event had come to the sockets and was read from them; how long
/// until the first of them had it, and how long from then until each had it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delay {
    pub(crate) come: Quantiles,
    pub(crate) read: Quantiles,
    pub(crate) first: Quantiles,
    pub(crate) spread: Quantiles,
}

impl Cost {
    pub(crate) fn per_cpu_second(&self) -> f64 {
        self.deliveries as f64 / self.cpu_seconds.max(0.01)
    }

    pub(crate) fn events_a_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (come, read) = (self.come, self.read);
        let (first, spread) = (self.first, self.spread);
        write!(
            out,
            "p50 {:.2} ms, p99 {:.2} ms (read {:.2}, {:.2}; \
             the first {:.2}, {:.2}; from then on {:.2}, {:.2})",
            come.p50_ms,
            come.p99_ms,
            read.p50_ms,
            read.p99_ms,
            first.p50_ms,
            first.p99_ms,
            spread.p50_ms,
            spread.p99_ms
        )
    }
}

/// Publishes the next event when everyone has the one that was published `window`
/// events before.
pub(crate) async fn window(
    server: &Server,
    crowd: &mut Crowd,
    window: usize,
    lasting: Duration,
) -> Cost {
    let (begun, before) = (Instant::now(), server.usage());
    let (mut published, mut finished) = (0, 0);
    loop {
        while published - finished < window && begun.elapsed() < lasting {
            post(server, crowd, Instant::now(), published % crowd.groups);
            published += 1;
        }
        if finished == published {
            break;
        }
        crowd.finished().await;
        finished += 1;
    }
    cost(server, crowd, published, begun, before)
}

/// Publishes at a rate, whatever comes of it. Delays count from when an event was due, so
/// that a server which stalls cannot hide it.
pub(crate) async fn at_rate(
    server: &Server,
    crowd: &mut Crowd,
    events_a_second: f64,
    lasting: Duration,
) -> (Cost, Delay) {
    crowd.board.forget();
    let (begun, before) = (Instant::now(), server.usage());
    let events = (lasting.as_secs_f64() * events_a_second) as usize;
    let mut finished = 0;
    for number in 0..events {
        let due = begun + Duration::from_secs_f64(number as f64 / events_a_second);
        let mut arrives = pin!(until(due));
        loop {
            tokio::select! {
                arrived = &mut arrives => break arrived.unwrap(),
                _ = crowd.finished(), if finished < number => finished += 1,
            }
        }
        post(server, crowd, due, number % crowd.groups);
    }
    while finished < events {
        crowd.finished().await;
        finished += 1;
    }
    let cost = cost(server, crowd, events, begun, before);
    let delays = crowd.board.delays();
    let quantiles = |latencies: &Latencies| Quantiles::from(&latencies.sum().unwrap());
    let delay = Delay {
        come: quantiles(&delays.come),
        read: quantiles(&delays.read),
        first: quantiles(&delays.first),
        spread: quantiles(&delays.spread),
    };
    (cost, delay)
}

/// One event to each group, which everyone must get: all are there, and warm.
pub(crate) async fn warm_up(server: &Server, crowd: &mut Crowd) {
    for _ in 0..WARM_UP_ROUNDS {
        for group in 0..crowd.groups {
            post(server, crowd, Instant::now(), group);
        }
        for _ in 0..crowd.groups {
            crowd.finished().await;
        }
    }
}

fn post(server: &Server, crowd: &Crowd, due: Instant, group: usize) {
    let number = crowd.board.announce(due, crowd.sockets);
    server.publisher.publish(group, number);
}

fn cost(
    server: &Server,
    crowd: &Crowd,
    events: usize,
    begun: Instant,
    before: mls_relay_loadtest::load::Usage,
) -> Cost {
    Cost {
        events,
        deliveries: events * crowd.sockets,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: server.usage().cpu_since(&before).as_secs_f64(),
    }
}

const WARM_UP_ROUNDS: usize = 20;

//! One run from the first account to the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until};

use super::listener::{Listener, Phase, Shared};
use super::report::{Quantiles, RelayUsage, Report};
use super::scenario::{Scenario, Storm};
use super::tally::{Latencies, Schedule, SocketTally};
use super::world::{self, Conversation};
use super::writer::{self, Sent};
use super::{LoadError, Usage};
use crate::directory::Directory;
use crate::relay::Relay;

/// How long stragglers have after the connect phase, and events after the last
/// message.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);

/// What connecting took for a moment only has gone back by then: allocators give
/// memory back after a second or so.
const SETTLE: Duration = Duration::from_secs(3);

/// Above this share of the machine's cores, the generator measures itself.
const BUSY: f64 = 0.8;

/// The relay that is measured.
#[derive(Debug)]
pub struct Target<'a> {
    pub relay: Arc<Relay>,
    /// Where the relay finds the accounts' documents.
    pub directory: &'a Directory,
    /// The relay's process, if it is on this machine.
    pub pid: Option<u32>,
}

/// Plays a scenario. `say` hears how it goes, for a line of progress.
pub async fn run(
    name: &str,
    scenario: &Scenario,
    target: &Target<'_>,
    mut say: impl FnMut(&str),
) -> Result<Report, LoadError> {
    let mut conversations = world::found(scenario, &target.relay, target.directory, |count| {
        say(&format!(
            "set up {count}/{} conversations",
            scenario.conversations
        ));
    })
    .await?;
    let shared = Arc::new(Shared {
        relay: Arc::clone(&target.relay),
        schedule: Schedule::new(scenario.messages()),
        deliveries: Latencies::new()?,
        connects: Latencies::new()?,
        delivered: AtomicU64::new(0),
        live: AtomicU64::new(0),
    });
    let (phase, watched) = watch::channel(Phase::default());
    let empty = usage(target);
    let sockets = connect(scenario, &conversations, &shared, &watched, &mut say).await?;
    say("everyone is subscribed; waiting until the relay has settled");
    sleep(SETTLE).await;

    let (before, own_before) = (usage(target), Usage::of(std::process::id()));
    let begin = Instant::now();
    let sends = Arc::new(Latencies::new()?);
    let storms = tokio::spawn(rage(scenario.storm, phase.clone()));
    let of = scenario.messages();
    let sent = writer::write(scenario, &mut conversations, &shared, &sends, |number| {
        let delivered = shared.delivered.load(Ordering::Relaxed);
        say(&format!("sent {number}/{of}, delivered {delivered}"));
    })
    .await?;
    storms.abort();
    let seconds = begin.elapsed().as_secs_f64();
    let mut measured = Measured {
        left: None,
        empty,
        before,
        after: usage(target),
        own: own_cores(own_before, begin),
        seconds,
    };
    let per_socket = sockets_of(scenario, &sent);
    wait_for_the_rest(&shared, &phase, per_socket, &mut say).await;
    phase.send_modify(|phase| phase.over = true);
    let tallies = sockets.join_all().await;
    say("everyone has left; waiting until the relay has settled");
    sleep(SETTLE).await;
    measured.left = usage(target);
    if let Some(error) = &sent.first_failure {
        say(&format!("the first message that failed: {error}"));
    }
    report(name, scenario, &shared, &sends, &sent, &tallies, &measured)
}

/// What the processes used.
struct Measured {
    empty: Option<Usage>,
    before: Option<Usage>,
    after: Option<Usage>,
    /// When everyone has gone.
    left: Option<Usage>,
    own: f64,
    seconds: f64,
}

/// Opens all subscriptions, at the scenario's pace, and waits until they are live.
async fn connect(
    scenario: &Scenario,
    conversations: &[Conversation],
    shared: &Arc<Shared>,
    phase: &watch::Receiver<Phase>,
    say: &mut impl FnMut(&str),
) -> Result<JoinSet<SocketTally>, LoadError> {
    let mut sockets = JoinSet::new();
    let total = scenario.total_sockets();
    let storm_share = scenario.storm.map_or(0.0, |storm| storm.share);
    let start = Instant::now();
    for (place, conversation) in conversations.iter().enumerate() {
        for account in &conversation.accounts {
            for _ in 0..scenario.sockets {
                let number = sockets.len();
                let due = Duration::from_secs_f64(number as f64 / scenario.connect_rate);
                sleep_until((start + due).into()).await;
                let listener = Listener::new(
                    Arc::clone(shared),
                    Arc::clone(account),
                    phase.clone(),
                    number,
                    place,
                    scenario.slow,
                );
                sockets.spawn(listener.run(storm_share));
                say(&format!(
                    "{}/{total} subscribed",
                    shared.live.load(Ordering::Relaxed)
                ));
            }
        }
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let live = shared.live.load(Ordering::Relaxed);
        if live == total as u64 {
            return Ok(sockets);
        }
        if Instant::now() > deadline {
            return Err(LoadError::Subscribe {
                live,
                sockets: total,
            });
        }
        say(&format!("{live}/{total} subscribed"));
        sleep(POLL).await;
    }
}

/// Announces the storms.
async fn rage(storm: Option<Storm>, phase: watch::Sender<Phase>) {
    let Some(storm) = storm else {
        return;
    };
    let every = Duration::from_secs_f64(storm.every_seconds);
    let mut ticks = interval(every);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        phase.send_modify(|phase| phase.storms += 1);
    }
}

/// Lets the slow ones read, and waits until everything that must come has come.
async fn wait_for_the_rest(
    shared: &Shared,
    phase: &watch::Sender<Phase>,
    expected: u64,
    say: &mut impl FnMut(&str),
) {
    phase.send_modify(|phase| phase.slow_may_read = true);
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let delivered = shared.delivered.load(Ordering::Relaxed);
        say(&format!(
            "waiting for the last events: {delivered}/{expected}"
        ));
        if delivered >= expected {
            return;
        }
        sleep(POLL).await;
    }
}

/// How many deliveries there must be: each message that was taken, to each socket
/// of its conversation.
fn sockets_of(scenario: &Scenario, sent: &Sent) -> u64 {
    let sockets = (scenario.accounts * scenario.sockets) as u64;
    sent.taken.iter().sum::<u64>() * sockets
}

fn usage(target: &Target<'_>) -> Option<Usage> {
    Usage::of(target.pid?)
}

fn own_cores(before: Option<Usage>, begin: Instant) -> f64 {
    let after = Usage::of(std::process::id());
    let cpu = match (before, after) {
        (Some(before), Some(after)) => after.cpu_since(&before).as_secs_f64(),
        _ => 0.0,
    };
    cpu / begin.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)
}

fn report(
    name: &str,
    scenario: &Scenario,
    shared: &Shared,
    sends: &Latencies,
    sent: &Sent,
    tallies: &[SocketTally],
    measured: &Measured,
) -> Result<Report, LoadError> {
    let sum = |of: fn(&SocketTally) -> u64| tallies.iter().map(of).sum::<u64>();
    let lost = tallies
        .iter()
        .map(|tally| {
            let taken = sent.taken.get(tally.conversation).copied().unwrap_or(0);
            taken.saturating_sub(tally.received)
        })
        .sum();
    let delivered = sum(|tally| tally.received);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report {
        scenario: name.to_owned(),
        about: scenario.about.clone(),
        sockets: scenario.total_sockets(),
        seconds: measured.seconds,
        sent: sent.taken.iter().sum(),
        failed: sent.failed,
        delivered,
        expected: sockets_of(scenario, sent),
        lost,
        duplicated: sum(|tally| tally.duplicated),
        out_of_order: sum(|tally| tally.out_of_order),
        reconnects: sum(|tally| tally.reconnects),
        refused: sum(|tally| tally.refused),
        connect: Quantiles::from(&shared.connects.sum()?),
        send: Quantiles::from(&sends.sum()?),
        delivery: Quantiles::from(&shared.deliveries.sum()?),
        relay: relay_usage(measured, delivered, tallies.len()),
        generator_cores: measured.own,
        generator_was_the_bottleneck: measured.own > BUSY * cores as f64,
    })
}

fn relay_usage(measured: &Measured, delivered: u64, sockets: usize) -> Option<RelayUsage> {
    let (empty, before, after) = (measured.empty?, measured.before?, measured.after?);
    let cpu_seconds = after.cpu_since(&before).as_secs_f64();
    let grown = before.resident_kib.saturating_sub(empty.resident_kib);
    Some(RelayUsage {
        cpu_seconds,
        deliveries_per_cpu_second: delivered as f64 / cpu_seconds.max(0.01),
        resident_kib: before.resident_kib,
        kib_per_socket: grown as f64 / sockets.max(1) as f64,
        left_over: measured.left.map_or(0.0, |left| {
            left.resident_kib as f64 / empty.resident_kib.max(1) as f64
        }),
    })
}

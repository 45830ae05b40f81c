//! One run from the first account to the report.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::watch;
use tokio::time::{interval, sleep};

use super::abuse::Attackers;
use super::connect::connect;
use super::lateness::watch_self;
use super::listener::{Phase, Shared, Stage};
use super::measured::Measured;
use super::report::Report;
use super::sampler::watch_run;
use super::scenario::{Scenario, Storm};
use super::slow::SlowSockets;
use super::socket_tally::Numbers;
use super::stop::Stop;
use super::tally::{Latencies, Schedule};
use super::version::version_of;
use super::writer::Sent;
use super::{LoadError, Usage, files, world, writer};
use crate::directory::Directory;
use crate::relay::Relay;

/// How long events have after the last message.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the answer to a message was lost, it may come all the same: what has not come
/// after a pause of this length does not come.
const QUIET: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(50);

/// The relay that is measured.
#[derive(Debug)]
pub struct Target<'a> {
    pub relay: Arc<Relay>,
    /// Where the relay finds the accounts' documents.
    pub directory: &'a Directory,
    /// The relay's process, if it is on this machine.
    pub pid: Option<u32>,
    /// Where it shows its metrics, if that can be reached.
    pub admin: Option<SocketAddr>,
}

impl Target<'_> {
    fn usage(&self) -> Option<Usage> {
        Usage::of(self.pid?)
    }

    /// What is to be measured is there: who finds out afterwards has measured in vain.
    async fn check(&self) -> Result<(), LoadError> {
        if let Some(pid) = self.pid
            && self.usage().is_none()
        {
            return Err(LoadError::NoProcess(pid));
        }
        if let Some(admin) = self.admin
            && self.slow_sockets().await.is_none()
        {
            return Err(LoadError::NoMetrics(admin));
        }
        Ok(())
    }

    async fn slow_sockets(&self) -> Option<SlowSockets> {
        SlowSockets::counted_at(self.admin?).await
    }
}

/// Plays a scenario, or as much of it as there is before it is told to stop. `say` hears how
/// it goes, for a line of progress.
pub async fn run(
    name: &str,
    scenario: &Scenario,
    target: &Target<'_>,
    stop: &Stop,
    mut say: impl FnMut(&str),
) -> Result<Report, LoadError> {
    files::check(scenario)?;
    target.check().await?;
    let started = Utc::now();
    let version = version_of(&target.relay).await;
    let attackers = scenario
        .abuse
        .map(|abuse| Attackers::new(abuse, &target.relay, target.directory));
    let attackers = attackers.transpose()?;
    let began = Instant::now();
    let found = world::found(scenario, &target.relay, target.directory, |count| {
        let all = scenario.conversations;
        say(&format!("set up {count}/{all} conversations"));
    });
    let mut conversations = found.await?;
    let set_up = began.elapsed();

    let schedule = Schedule::new(scenario.messages(), scenario.conversations);
    let shared = Arc::new(Shared::new(schedule)?);
    let sends = Arc::new(Latencies::new()?);
    let (phase, watched) = watch::channel(Phase::default());
    // What founding the conversations took for a moment only goes back first.
    say("the conversations are founded; waiting until the relay has settled");
    sleep(scenario.settle()).await;
    let empty = target.usage();
    let samples = watch_run(Arc::clone(&shared), watched.clone(), target.pid);
    let samples = tokio::spawn(samples);
    let sockets = connect(scenario, &conversations, &shared, &watched, &mut say).await?;
    say("everyone is subscribed; waiting until the relay has settled");
    sleep(scenario.settle()).await;

    let slow_before = target.slow_sockets().await;
    let (before, own_before) = (target.usage(), Usage::of(std::process::id()));
    let begin = Instant::now();
    phase.send_modify(|phase| phase.stage = Stage::Running);
    let itself = tokio::spawn(watch_self(Arc::clone(&shared)));
    let storms = tokio::spawn(rage(scenario.storm, phase.clone()));
    let attack = attackers.map(|attackers| {
        tokio::spawn(attackers.attack(phase.clone(), Arc::clone(&shared), Arc::clone(&sends)))
    });
    let of = scenario.messages();
    let load = writer::Load {
        scenario,
        shared: &shared,
        latencies: &sends,
        stop,
    };
    let sent = load.write(&mut conversations, |number| {
        let delivered = shared.counters.delivered.load(Ordering::Relaxed);
        let live = shared.counters.live.load(Ordering::Relaxed);
        say(&format!(
            "sent {number}/{of}, delivered {delivered}, {live} sockets live"
        ));
    });
    let sent = sent.await?;
    storms.abort();
    let (after, own_after) = (target.usage(), Usage::of(std::process::id()));
    let seconds = begin.elapsed().as_secs_f64();
    phase.send_modify(|phase| phase.stage = Stage::Ending);
    let attacked = match attack {
        Some(attack) => Some(attack.await??),
        None => None,
    };
    wait_for_the_rest(scenario, &shared, &sent, &mut say).await;
    itself.abort();
    let live = shared.counters.live.load(Ordering::Relaxed);
    phase.send_modify(|phase| phase.stage = Stage::Over);
    let tallies = sockets.join_all().await;
    say("everyone has left; waiting until the relay has settled");
    sleep(scenario.settle()).await;
    let left = target.usage();
    let slow_after = target.slow_sockets().await;
    drop(phase);
    let measured = Measured {
        shared: &shared,
        sends: &sends,
        sent: &sent,
        tallies: &tallies,
        timeline: samples.await??,
        attacked,
        version,
        address: target.relay.authority(),
        started,
        absent: (scenario.total_sockets() as u64).saturating_sub(live),
        set_up,
        seconds,
        relay: [empty, before, after, left],
        own: [own_before, own_after],
        slow: [slow_before, slow_after],
    };
    Ok(measured.report(name, scenario)?)
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

/// Waits until everything that must come has come, and who was cut off is back.
async fn wait_for_the_rest(
    scenario: &Scenario,
    shared: &Shared,
    sent: &Sent,
    say: &mut impl FnMut(&str),
) {
    let taken: u64 = sent.taken.iter().map(Numbers::count).sum();
    let expected = taken * scenario.sockets_of_a_conversation();
    let deadline = Instant::now() + PATIENCE;
    let (mut delivered, mut since) = (0, Instant::now());
    while Instant::now() < deadline {
        let now = shared.counters.delivered.load(Ordering::Relaxed);
        say(&format!("waiting for the last events: {now}/{expected}"));
        if now > delivered {
            (delivered, since) = (now, Instant::now());
        }
        let is_complete = now >= expected && (sent.failed == 0 || since.elapsed() > QUIET);
        let live = shared.counters.live.load(Ordering::Relaxed);
        if is_complete && live >= scenario.total_sockets() as u64 {
            return;
        }
        sleep(POLL).await;
    }
}

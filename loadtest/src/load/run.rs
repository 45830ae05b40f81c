//! One run from the first account to the report.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use hdrhistogram::CreationError;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep};

use super::abuse::{Attacked, Attackers};
use super::connect::connect;
use super::ending::wait_for_the_rest;
use super::lateness::watch_self;
use super::listener::{Phase, Shared, Stage};
use super::measured::Measured;
use super::report::Report;
use super::sampler::watch_run;
use super::scenario::{Scenario, Storm};
use super::slow::{SlowSockets, shows_metrics};
use super::socket_tally::SocketTally;
use super::stop::Stop;
use super::tally::{Latencies, Schedule};
use super::timeline::Timeline;
use super::version::version_of;
use super::world::Conversation;
use super::writer::Sent;
use super::{LoadError, Usage, files, world, writer};
use crate::directory::Directory;
use crate::relay::Relay;

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
            && !shows_metrics(admin).await
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
    let play = Play::new(scenario, target)?;
    let ready = tokio::select! {
        biased;
        // In a series, the steps before this one have been measured.
        () = stop.told() => return Err(LoadError::ToldToStop),
        ready = play.get_ready(&mut say) => ready?,
    };
    let Ready {
        mut conversations,
        set_up,
        empty,
        samples,
        sockets,
    } = ready;

    let slow_before = target.slow_sockets().await;
    let loaded = play.load(&mut conversations, attackers, stop, &mut say);
    let loaded = loaded.await?;
    let tallies = sockets.join_all().await;
    play.settle("everyone has left", &mut say).await;
    let left = target.usage();
    let slow_after = target.slow_sockets().await;
    let Play {
        shared,
        sends,
        phase,
        ..
    } = play;
    // For the samples to end.
    drop(phase);
    let measured = Measured {
        shared: &shared,
        sends: &sends,
        sent: &loaded.sent,
        tallies: &tallies,
        timeline: samples.await??,
        attacked: loaded.attacked,
        version,
        address: target.relay.authority(),
        started,
        absent: (scenario.total_sockets() as u64).saturating_sub(loaded.live),
        set_up,
        seconds: loaded.seconds,
        delivered_in_run: loaded.delivered,
        relay: [empty, loaded.relay[0], loaded.relay[1], left],
        own: loaded.own,
        slow: [slow_before, slow_after],
    };
    Ok(measured.report(name, scenario)?)
}

/// What all parts of a run share.
struct Play<'a> {
    scenario: &'a Scenario,
    target: &'a Target<'a>,
    shared: Arc<Shared>,
    sends: Arc<Latencies>,
    phase: watch::Sender<Phase>,
}

/// Everyone is subscribed, and the first message may be due.
struct Ready {
    conversations: Vec<Conversation>,
    /// From the first account to the last conversation.
    set_up: Duration,
    /// The relay before anyone came.
    empty: Option<Usage>,
    samples: JoinHandle<Result<Timeline, CreationError>>,
    sockets: JoinSet<SocketTally>,
}

/// What there is to report of the run proper: use of processors and memory before its first
/// message and after its last.
struct Loaded {
    sent: Sent,
    attacked: Option<Attacked>,
    seconds: f64,
    /// Deliveries in these seconds; more may come afterwards.
    delivered: u64,
    relay: [Option<Usage>; 2],
    own: [Option<Usage>; 2],
    /// Sockets when all that must come had come.
    live: u64,
}

impl<'a> Play<'a> {
    fn new(scenario: &'a Scenario, target: &'a Target<'a>) -> Result<Self, LoadError> {
        let schedule = Schedule::new(scenario.messages(), scenario.conversations);
        Ok(Self {
            scenario,
            target,
            shared: Arc::new(Shared::new(schedule)?),
            sends: Arc::new(Latencies::new()?),
            phase: watch::Sender::new(Phase::default()),
        })
    }

    async fn get_ready(&self, say: &mut impl FnMut(&str)) -> Result<Ready, LoadError> {
        let (scenario, target) = (self.scenario, self.target);
        let began = Instant::now();
        let found = world::found(scenario, &target.relay, target.directory, |count| {
            let all = scenario.conversations;
            say(&format!("set up {count}/{all} conversations"));
        });
        let conversations = found.await?;
        let set_up = began.elapsed();
        // What founding the conversations took for a moment only goes back first.
        self.settle("the conversations are founded", say).await;
        let empty = target.usage();
        let watched = self.phase.subscribe();
        let samples = watch_run(Arc::clone(&self.shared), watched.clone(), target.pid);
        let samples = tokio::spawn(samples);
        let sockets = connect(scenario, &conversations, &self.shared, &watched, say).await?;
        self.settle("everyone is subscribed", say).await;
        Ok(Ready {
            conversations,
            set_up,
            empty,
            samples,
            sockets,
        })
    }

    async fn settle(&self, what: &str, say: &mut impl FnMut(&str)) {
        let end = Instant::now() + self.scenario.settle();
        while Instant::now() < end {
            say(&format!("{what}; waiting until the relay has settled"));
            sleep(POLL.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn begin(&self, stage: Stage) {
        self.phase.send_modify(|phase| phase.stage = stage);
    }

    fn usage(&self) -> [Option<Usage>; 2] {
        [self.target.usage(), Usage::of(std::process::id())]
    }

    /// From the first message until everyone leaves.
    async fn load(
        &self,
        conversations: &mut [Conversation],
        attackers: Option<Attackers>,
        stop: &Stop,
        say: &mut impl FnMut(&str),
    ) -> Result<Loaded, LoadError> {
        let scenario = self.scenario;
        let before = self.usage();
        let begin = Instant::now();
        self.begin(Stage::Running);
        let itself = tokio::spawn(watch_self(Arc::clone(&self.shared)));
        let storms = tokio::spawn(rage(scenario.storm, self.phase.clone()));
        let attack = attackers.map(|attackers| {
            let (shared, sends) = (Arc::clone(&self.shared), Arc::clone(&self.sends));
            tokio::spawn(attackers.attack(self.phase.clone(), shared, sends))
        });
        let load = writer::Load {
            scenario,
            shared: &self.shared,
            latencies: &self.sends,
            stop,
        };
        let sent = tokio::select! {
            sent = load.write(conversations) => sent?,
            never = self.tell(begin, say) => match never {},
        };
        storms.abort();
        let after = self.usage();
        let seconds = begin.elapsed().as_secs_f64();
        let delivered = self.shared.counters.delivered.load(Ordering::Relaxed);
        self.begin(Stage::Ending);
        let attacked = match attack {
            Some(attack) => Some(attack.await??),
            None => None,
        };
        wait_for_the_rest(scenario, &self.shared, &sent, say).await;
        itself.abort();
        let live = self.shared.counters.live.load(Ordering::Relaxed);
        self.begin(Stage::Over);
        Ok(Loaded {
            sent,
            attacked,
            seconds,
            delivered,
            relay: [before[0], after[0]],
            own: [before[1], after[1]],
            live,
        })
    }

    /// Says how it goes, also where no message is due for long.
    async fn tell(&self, begin: Instant, say: &mut impl FnMut(&str)) -> Infallible {
        let (all, of) = (self.scenario.total_sockets(), self.scenario.messages());
        let counters = &self.shared.counters;
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        loop {
            let failed = match now(&counters.failed) {
                0 => String::new(),
                failed => format!(" ({failed} failed)"),
            };
            say(&format!(
                "{}/{} s, sent {}/{of}{failed}, delivered {}, {}/{all} sockets live",
                begin.elapsed().as_secs(),
                self.scenario.seconds,
                now(&counters.due),
                now(&counters.delivered),
                now(&counters.live),
            ));
            sleep(POLL).await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::scenarios;
    use crate::stand_in::stand_in;

    /// A relay that is not there.
    async fn target(directory: &Directory) -> Target<'_> {
        let (_, _, relay) = stand_in().await;
        Target {
            relay: Arc::new(relay),
            directory,
            pid: None,
            admin: None,
        }
    }

    #[tokio::test]
    async fn a_server_that_answers_without_the_metrics_of_a_relay_is_no_place_for_them() {
        let directory = Directory::start().await.unwrap();
        let mut target = target(&directory).await;
        let elsewhere = directory.url();
        target.admin = elsewhere.strip_prefix("http://").unwrap().parse().ok();
        let checked = target.check().await;
        assert!(
            matches!(checked, Err(LoadError::NoMetrics(_))),
            "{checked:?}"
        );
    }

    #[tokio::test]
    async fn who_is_told_to_stop_after_a_step_of_a_series_sets_up_no_other() {
        let directory = Directory::start().await.unwrap();
        let target = target(&directory).await;
        let scenario = Scenario::parse(scenarios::named("growth").unwrap()).unwrap();
        let stop = Stop::default();
        stop.heed();
        assert!(stop.tell());
        let played = run("growth", &scenario, &target, &stop, |_| ()).await;
        assert!(matches!(played, Err(LoadError::ToldToStop)), "{played:?}");
    }
}

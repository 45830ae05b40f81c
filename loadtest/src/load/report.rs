//! Pure. The end of a run: what was measured, as a table for people and as JSON for
//! scripts.

use std::fmt::{self, Write as _};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::abuse::outcome::Attack;
use super::buckets::Histograms;
use super::machine::Machine;
use super::scenario::Scenario;
use super::slow::SlowSockets;
use super::timeline::{Point, Timeline};
use super::writer::IN_FLIGHT;

/// A run that took longer than this by its scenario, and a second, did not keep its rate.
const OVERRUN: f64 = 1.05;

/// Milliseconds at the quantiles that matter.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl From<&Histogram<u64>> for Quantiles {
    fn from(micros: &Histogram<u64>) -> Self {
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            count: micros.len(),
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: micros.max() as f64 / 1000.0,
        }
    }
}

impl fmt::Display for Quantiles {
    /// The three that one compares.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999) = (self.p50_ms, self.p99_ms, self.p999_ms);
        write!(f, "{p50:.2} / {p99:.2} / {p999:.2} ms")
    }
}

/// What the hostile got, and how the honest fared meanwhile.
#[derive(Clone, Debug, Serialize)]
pub struct AbuseReport {
    pub attacks: Vec<Attack>,
    /// Before the attack.
    pub calm_send: Quantiles,
    pub calm_delivery: Quantiles,
    /// From its first moment on.
    pub attacked_send: Quantiles,
    pub attacked_delivery: Quantiles,
}

/// What the relay used, when it runs on this machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RelayUsage {
    /// During the run proper, without connecting.
    pub cpu_seconds: f64,
    /// The same by ten seconds of the run.
    pub cpu_seconds_in_ten: f64,
    pub deliveries_per_cpu_second: f64,
    /// With everyone subscribed, at the start of the run proper.
    pub resident_kib: u64,
    /// What the sockets added to the relay's memory, divided by them. None where they found
    /// room in what it had kept of an earlier load.
    pub kib_per_socket: Option<f64>,
    /// Its memory when everyone had left, by that before anyone came.
    pub left_over: f64,
    /// How fast its memory grew over the second half of the run. None for short runs,
    /// which say little.
    pub growth_kib_per_minute: Option<f64>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub scenario: String,
    pub about: String,
    /// When it began, in UTC.
    pub started: String,
    /// Where the relay was.
    pub relay_address: String,
    /// Nothing was lost, repeated or out of order; and where there was abuse, every kind
    /// of it met a limit, and nobody else did: there are no `faults`.
    pub is_clean: bool,
    pub sockets: usize,
    /// From the first message to the last answer.
    pub seconds: f64,
    /// From the first account to the last conversation.
    pub set_up_seconds: f64,
    pub sent: u64,
    pub failed: u64,
    /// Of those that failed: it was their answer that was lost, and somebody heard them.
    pub failed_but_heard: u64,
    pub first_failure: Option<String>,
    /// Messages that waited here, because as many as may be were under way.
    pub held_back: u64,
    /// It was told to stop before its time: this is of what there was.
    pub is_cut_short: bool,
    /// Each message counts once for each socket.
    pub delivered: u64,
    /// Of these, those that came in `seconds`, in which the relay's CPU was measured.
    pub delivered_in_run: u64,
    pub expected: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Events of conversations that the socket's account is not in.
    pub misdirected: u64,
    /// Sockets that were not live at the end. What they lack is lost.
    pub absent: u64,
    pub reconnects: u64,
    pub refused: u64,
    pub first_refusal: Option<String>,
    /// From the first attempt until the subscription was live.
    pub connect: Quantiles,
    /// From when a message was due until the relay had taken it.
    pub send: Quantiles,
    /// From when a message was due until a socket had its event.
    pub delivery: Quantiles,
    pub relay: Option<RelayUsage>,
    /// Where some sockets did not read, what the relay felt of it.
    pub slow: Option<SlowSockets>,
    pub abuse: Option<AbuseReport>,
    /// CPU time of this program by wall time: near the number of cores, it is this
    /// program that was measured.
    pub generator_cores: f64,
    /// How late it was with what it had to do by itself: so much of a latency is its own.
    pub generator_late: Quantiles,
    pub generator_was_the_bottleneck: bool,
    pub machine: Machine,
    /// As it says itself.
    pub relay_version: Option<String>,
    /// The scenario, with what was changed for the run.
    pub played: Scenario,
    pub histograms: Histograms,
    pub timeline: Timeline,
}

impl Report {
    /// What makes a run unclean, in words.
    pub fn faults(&self) -> Vec<String> {
        let counted = [
            (self.failed, "messages failed"),
            (self.lost, "deliveries lost"),
            (self.duplicated, "duplicated"),
            (self.out_of_order, "out of order"),
            (self.misdirected, "sent to strangers"),
            (self.absent, "sockets not live at the end"),
        ];
        let counted = counted.into_iter().filter(|(count, _)| *count > 0);
        let mut faults: Vec<String> = counted
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if let Some(abuse) = &self.abuse {
            let unlimited = abuse.attacks.iter().filter(|attack| attack.limited == 0);
            faults.extend(unlimited.map(|attack| format!("no limit stopped {}", attack.name)));
            if self.refused > 0 {
                faults.push(format!(
                    "honest phones were turned away {} times",
                    self.refused
                ));
            }
        }
        faults
    }

    /// The run in a sentence.
    pub fn verdict(&self) -> String {
        match self.faults().as_slice() {
            [] if self.expected == 0 => "Clean; no message was sent.".to_owned(),
            [] => "Nothing lost, nothing twice, nothing out of order.".to_owned(),
            faults => format!("Not clean: {}.", faults.join(", ")),
        }
    }

    /// What there is to know in words: a name and its value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("sockets", self.sockets.to_string()),
            (
                "messages sent",
                format!(
                    "{} in {:.1} s ({} failed{})",
                    self.sent,
                    self.seconds,
                    self.failed,
                    match self.failed_but_heard {
                        0 => String::new(),
                        heard => format!(", {heard} of them heard"),
                    }
                ),
            ),
            (
                "deliveries",
                format!("{} of {}", self.delivered, self.expected),
            ),
            (
                "faults",
                format!(
                    "{} lost, {} duplicated, {} out of order",
                    self.lost, self.duplicated, self.out_of_order
                ),
            ),
            (
                "connections",
                format!(
                    "{} reconnects, {} failed attempts",
                    self.reconnects, self.refused
                ),
            ),
        ];
        if let Some(relay) = &self.relay {
            facts.extend(relay.facts());
        }
        facts.extend(self.slow.map(|slow| ("slow sockets", slow.told())));
        let attacks = self.abuse.iter().flat_map(|abuse| &abuse.attacks);
        facts.extend(attacks.map(|attack| (attack.name, attack.told())));
        facts.push((
            "generator",
            format!(
                "{:.2} cores, {:.1} ms late (p99), set up in {:.1} s",
                self.generator_cores, self.generator_late.p99_ms, self.set_up_seconds
            ),
        ));
        facts
    }

    /// The latencies by name; none where there were none.
    pub fn latencies(&self) -> Vec<(&'static str, Quantiles)> {
        let mut latencies = vec![
            ("connect to live", self.connect),
            ("send", self.send),
            ("delivery", self.delivery),
        ];
        if let Some(abuse) = &self.abuse {
            latencies.extend([
                ("send, in the calm", abuse.calm_send),
                ("send, attacked", abuse.attacked_send),
                ("delivery, in the calm", abuse.calm_delivery),
                ("delivery, attacked", abuse.attacked_delivery),
            ]);
        }
        latencies.retain(|(_, quantiles)| quantiles.count > 0);
        latencies
    }

    pub fn table(&self) -> String {
        let mut text = format!("\n{}: {}\n\n", self.scenario, self.about);
        // Writing to a string cannot fail.
        for (name, value) in self.facts() {
            let _ = writeln!(text, "  {name:<23} {value}");
        }
        let _ = writeln!(
            text,
            "\n  {:<23} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "ms", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, q) in self.latencies() {
            let _ = writeln!(
                text,
                "  {name:<23} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>8.2}",
                q.count, q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.max_ms
            );
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "\n  {warning}");
        }
        let _ = writeln!(text, "\n  {}", self.verdict());
        text
    }

    /// What to know before believing the rest.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.generator_was_the_bottleneck {
            let cores = self.machine.cores;
            let starved = match self.generator_cores < cores as f64 / 2.0 {
                true => ", so others kept it from them",
                false => "",
            };
            warnings.push(format!(
                "The generator was the bottleneck: it was {:.0} ms late itself (p99). It used \
                 {:.2} of {cores} cores{starved}. Latencies are partly its own.",
                self.generator_late.p99_ms, self.generator_cores
            ));
        }
        let had_process = |point: &Point| point.relay_resident_kib.is_some();
        if self.relay.is_none() && self.timeline.points.iter().any(had_process) {
            warnings.push(
                "The relay's process ended during the run: what it used is not known.".to_owned(),
            );
        }
        let due = self.played.seconds as f64;
        if self.is_cut_short {
            warnings.push(format!(
                "It was told to stop after {:.1} s of {due:.0} s.",
                self.seconds
            ));
        }
        if self.seconds > due * OVERRUN + 1.0 {
            warnings.push(format!(
                "The rate was not reached: what was due in {due:.0} s took {:.1} s.",
                self.seconds
            ));
        }
        if self.held_back > 0 {
            warnings.push(format!(
                "{} messages left late because {IN_FLIGHT} were under way. Their latencies count \
                 from when they were due.",
                self.held_back
            ));
        }
        if let Some(failure) = &self.first_failure {
            warnings.push(format!(
                "{} messages failed and are in no latency; the first: {failure}.",
                self.failed
            ));
        }
        if let Some(refusal) = &self.first_refusal {
            warnings.push(format!(
                "The first attempt to connect that failed: {refusal}."
            ));
        }
        if self.absent > 0 {
            warnings.push(format!(
                "{} sockets were not live at the end: what they lack counts as lost.",
                self.absent
            ));
        }
        if self.slow == Some(SlowSockets::default()) {
            warnings.push(
                "The relay felt no slow socket: what they did not read waited elsewhere."
                    .to_owned(),
            );
        }
        warnings
    }
}

impl RelayUsage {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let resident = self.resident_kib as f64 / 1024.0;
        let mut facts = vec![
            (
                "relay CPU",
                format!(
                    "{:.2} s ({:.2} in ten seconds), {:.0} deliveries a CPU s",
                    self.cpu_seconds, self.cpu_seconds_in_ten, self.deliveries_per_cpu_second,
                ),
            ),
            (
                "relay memory",
                match self.kib_per_socket {
                    Some(kib) => format!("{resident:.1} MiB, {kib:.1} KiB a socket"),
                    None => format!("{resident:.1} MiB, none of it for these sockets"),
                },
            ),
            (
                "and when all had left",
                format!("{:.2} times the start's", self.left_over),
            ),
        ];
        facts.extend(self.growth_kib_per_minute.map(|kib| {
            let text = format!("{kib:+.0} KiB a minute, over the second half");
            ("and grew by", text)
        }));
        facts
    }
}

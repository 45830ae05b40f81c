//! Pure. The end of a run: what was measured, as a table for people and as JSON for
//! scripts.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::abuse::outcome::Attack;
use super::machine::Machine;
use super::scenario::Scenario;
use super::slow::SlowSockets;
use super::timeline::Timeline;

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

/// How many latencies lay where. Ten buckets a decade, from the shortest latency to the
/// longest, without a hole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Buckets(pub Vec<Bucket>);

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    pub from_ms: f64,
    pub to_ms: f64,
    pub count: u64,
}

impl From<&Histogram<u64>> for Buckets {
    fn from(micros: &Histogram<u64>) -> Self {
        // The edge below which no latency is, since none is below a microsecond.
        let edge = |index: i32| 10_f64.powf(f64::from(index) / 10.0) / 1000.0;
        let index = |micros: u64| ((micros.max(1) as f64).log10() * 10.0).floor() as i32;
        let mut buckets: Vec<Bucket> = Vec::new();
        if micros.is_empty() {
            return Self(buckets);
        }
        let first = index(micros.min());
        for seen in micros.iter_recorded() {
            let place = (index(seen.value_iterated_to()) - first).max(0);
            for next in buckets.len() as i32..=place {
                buckets.push(Bucket {
                    from_ms: edge(first + next),
                    to_ms: edge(first + next + 1),
                    count: 0,
                });
            }
            if let Some(bucket) = buckets.get_mut(place as usize) {
                bucket.count += seen.count_at_value();
            }
        }
        Self(buckets)
    }
}

/// Where the latencies of a run lay.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Histograms {
    pub connect: Buckets,
    pub send: Buckets,
    pub delivery: Buckets,
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
    /// What the sockets added to the relay's memory, divided by them.
    pub kib_per_socket: f64,
    /// Its memory when everyone had left, by that before anyone came.
    pub left_over: f64,
    /// How fast its memory grew over the second half of the run. Short runs say little.
    pub growth_kib_per_minute: Option<f64>,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub scenario: String,
    pub about: String,
    pub sockets: usize,
    /// From the first message to the last.
    pub seconds: f64,
    /// From the first account to the last conversation.
    pub set_up_seconds: f64,
    pub sent: u64,
    pub failed: u64,
    pub delivered: u64,
    pub expected: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    pub reconnects: u64,
    pub refused: u64,
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
    /// Nothing was lost, repeated or out of order; and where there was abuse, every kind
    /// of it met a limit, and nobody else did.
    pub fn is_clean(&self) -> bool {
        let faults = [self.failed, self.lost, self.duplicated, self.out_of_order];
        let is_just = |abuse: &AbuseReport| {
            self.refused == 0 && abuse.attacks.iter().all(|attack| attack.limited > 0)
        };
        faults == [0; 4] && self.abuse.as_ref().is_none_or(is_just)
    }

    /// What there is to know in words: a name and its value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("sockets", self.sockets.to_string()),
            (
                "messages sent",
                format!("{} ({} failed)", self.sent, self.failed),
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
                    "{} reconnects, {} refused attempts",
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
                "{:.2} cores, set up in {:.1} s",
                self.generator_cores, self.set_up_seconds
            ),
        ));
        facts
    }

    /// The latencies by name.
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
            "\n  {:<23} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "ms", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, q) in self.latencies() {
            let _ = writeln!(
                text,
                "  {name:<23} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                q.count, q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.max_ms
            );
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "\n  {warning}");
        }
        text
    }

    /// What to know before believing the rest.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.generator_was_the_bottleneck {
            warnings
                .push("The generator was short of CPU: latencies are partly its own.".to_owned());
        }
        if self.slow == Some(SlowSockets::default()) {
            warnings.push(
                "The relay felt no slow socket: what they did not read waited elsewhere."
                    .to_owned(),
            );
        }
        let attacks = self.abuse.iter().flat_map(|abuse| &abuse.attacks);
        let unlimited = attacks.filter(|attack| attack.limited == 0);
        warnings.extend(unlimited.map(|attack| format!("No limit stopped: {}.", attack.name)));
        if self.abuse.is_some() && self.refused > 0 {
            warnings.push(format!(
                "Honest phones were turned away {} times when they connected.",
                self.refused
            ));
        }
        warnings
    }
}

impl RelayUsage {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let growth = self.growth_kib_per_minute;
        let growth = growth.map_or("unknown".to_owned(), |kib| {
            format!("{kib:+.0} KiB a minute")
        });
        vec![
            (
                "relay CPU",
                format!(
                    "{:.2} s, {:.2} s in ten seconds, {:.0} deliveries a CPU s",
                    self.cpu_seconds, self.cpu_seconds_in_ten, self.deliveries_per_cpu_second,
                ),
            ),
            (
                "relay memory",
                format!(
                    "{:.1} MiB, {:.1} KiB a socket, {:.2} times the start's when all have left",
                    self.resident_kib as f64 / 1024.0,
                    self.kib_per_socket,
                    self.left_over
                ),
            ),
            ("and grew by", format!("{growth}, over the second half")),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_every_latency_and_leave_no_hole() {
        let mut micros = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        assert_eq!(Buckets::from(&micros), Buckets::default());
        for value in [150, 160, 900, 1_000_000] {
            micros.record(value).unwrap();
        }
        let Buckets(buckets) = Buckets::from(&micros);
        let count: u64 = buckets.iter().map(|bucket| bucket.count).sum();
        assert_eq!(count, 4);
        assert!(
            buckets
                .windows(2)
                .all(|pair| pair[0].to_ms == pair[1].from_ms)
        );
        let (first, last) = (buckets.first().unwrap(), buckets.last().unwrap());
        assert!(first.count > 0 && first.from_ms <= 0.15);
        assert!(last.count == 1 && last.to_ms > 1000.0);
    }
}

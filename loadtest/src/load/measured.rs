//! What a run saw, made into its report.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use hdrhistogram::{CreationError, Histogram};

use super::Usage;
use super::abuse::Attacked;
use super::buckets::{Buckets, Histograms};
use super::listener::Shared;
use super::machine::Machine;
use super::report::{AbuseReport, Quantiles, RelayUsage, Report};
use super::scenario::Scenario;
use super::slow::SlowSockets;
use super::socket_tally::{Numbers, SocketTally};
use super::tally::Latencies;
use super::timeline::Timeline;
use super::writer::Sent;
use crate::chain;

/// Above this share of the machine's cores, the generator measures itself.
const BUSY: f64 = 0.8;

/// The same where its own lateness is more than this share of the latencies, at the 99th
/// percentile of both, and more than timers and a busy moment explain.
const LATE: f64 = 0.25;
const LATE_MS: f64 = 20.0;

/// Everything that a run has gathered.
pub(super) struct Measured<'a> {
    pub shared: &'a Shared,
    pub sends: &'a Latencies,
    pub sent: &'a Sent,
    pub tallies: &'a [SocketTally],
    pub timeline: Timeline,
    pub attacked: Option<Attacked>,
    pub version: Option<String>,
    pub address: String,
    pub started: DateTime<Utc>,
    /// Sockets that were not live when all that must come had come.
    pub absent: u64,
    /// From the first account to the last conversation.
    pub set_up: Duration,
    /// From the first message to the last answer.
    pub seconds: f64,
    /// Deliveries in that time: slow sockets read afterwards.
    pub delivered_in_run: u64,
    /// Before anyone came; with everyone subscribed; after the last message; when
    /// everyone has left.
    pub relay: [Option<Usage>; 4],
    /// This program before the first message and after the last.
    pub own: [Option<Usage>; 2],
    /// What the relay had counted before the first message, and when everyone has left.
    pub slow: [Option<SlowSockets>; 2],
}

impl Measured<'_> {
    pub(super) fn report(self, name: &str, scenario: &Scenario) -> Result<Report, CreationError> {
        let tallies = self.tallies;
        let sum = |of: fn(&SocketTally) -> u64| tallies.iter().map(of).sum::<u64>();
        let delivered = sum(|tally| tally.heard.count());
        let sent: u64 = self.sent.taken.iter().map(Numbers::count).sum();
        let stored = self.stored();
        let expected = stored * scenario.sockets_of_a_conversation();
        let connects = self.shared.connects.sum()?;
        let sends = self.sends.sum()?;
        let deliveries = self.shared.deliveries.sum()?;
        let delivery = Quantiles::from(&deliveries);
        let machine = Machine::here();
        let own = self.own_cores();
        let late = Quantiles::from(&self.shared.lateness.sum()?);
        let first_failure = self.sent.first_failure.as_ref();
        let mut report = Report {
            scenario: name.to_owned(),
            about: scenario.about.clone(),
            started: self.started.to_rfc3339_opts(SecondsFormat::Secs, true),
            relay_address: self.address.clone(),
            is_clean: false,
            sockets: scenario.total_sockets(),
            seconds: self.seconds,
            set_up_seconds: self.set_up.as_secs_f64(),
            sent,
            failed: self.sent.failed,
            failed_but_heard: stored - sent,
            first_failure: first_failure.map(|error| chain(error)),
            held_back: self.sent.held_back,
            is_cut_short: self.sent.is_cut_short,
            delivered,
            delivered_in_run: self.delivered_in_run,
            expected,
            lost: expected.saturating_sub(delivered),
            duplicated: sum(|tally| tally.duplicated),
            out_of_order: sum(|tally| tally.out_of_order),
            misdirected: sum(|tally| tally.misdirected),
            absent: self.absent,
            reconnects: sum(|tally| tally.reconnects),
            refused: sum(|tally| tally.refused),
            first_refusal: self.shared.first_refusal.get().cloned(),
            connect: Quantiles::from(&connects),
            send: Quantiles::from(&sends),
            delivery,
            relay: self.relay_usage(),
            slow: self.slow_sockets().filter(|_| scenario.slow > 0.0),
            abuse: self
                .attacked
                .map(|attacked| abuse(attacked, &sends, &deliveries)),
            generator_cores: own,
            generator_late: late,
            generator_was_the_bottleneck: own > BUSY * machine.cores as f64
                || (late.p99_ms > LATE_MS && late.p99_ms > LATE * delivery.p99_ms),
            machine,
            relay_version: self.version,
            played: scenario.clone(),
            histograms: Histograms {
                connect: Buckets::from(&connects),
                send: Buckets::from(&sends),
                delivery: Buckets::from(&deliveries),
            },
            timeline: self.timeline,
        };
        report.is_clean = report.faults().is_empty();
        Ok(report)
    }

    /// How many messages the relay has: those that it said it had taken, and those whose
    /// answer was lost but which somebody heard.
    fn stored(&self) -> u64 {
        let mut stored = self.sent.taken.clone();
        for tally in self.tallies {
            if let Some(stored) = stored.get_mut(tally.conversation) {
                stored.insert_all(&tally.heard);
            }
        }
        stored.iter().map(Numbers::count).sum()
    }

    fn own_cores(&self) -> f64 {
        let [Some(before), Some(after)] = self.own else {
            return 0.0;
        };
        after.cpu_since(&before).as_secs_f64() / self.seconds.max(f64::MIN_POSITIVE)
    }

    fn slow_sockets(&self) -> Option<SlowSockets> {
        let [before, after] = self.slow;
        Some(after?.since(before?))
    }

    fn relay_usage(&self) -> Option<RelayUsage> {
        let [empty, before, after, left] = self.relay;
        let (empty, before, after, left) = (empty?, before?, after?, left?);
        let cpu_seconds = after.cpu_since(&before).as_secs_f64();
        Some(RelayUsage {
            cpu_seconds,
            cpu_seconds_in_ten: cpu_seconds * 10.0 / self.seconds.max(f64::MIN_POSITIVE),
            deliveries_per_cpu_second: self.delivered_in_run as f64 / cpu_seconds.max(0.01),
            resident_kib: before.resident_kib,
            kib_per_socket: kib_per_socket(empty, before, self.tallies.len()),
            left_over: left.resident_kib as f64 / empty.resident_kib.max(1) as f64,
            growth_kib_per_minute: self.timeline.memory_slope(),
        })
    }
}

/// None where the sockets found room in what the relay had kept of an earlier load.
fn kib_per_socket(empty: Usage, full: Usage, sockets: usize) -> Option<f64> {
    let grown = full.resident_kib.saturating_sub(empty.resident_kib);
    (grown > 0).then(|| grown as f64 / sockets.max(1) as f64)
}

/// The latencies of the calm are in all of them, too: the rest is of the attack.
fn abuse(attacked: Attacked, sends: &Histogram<u64>, deliveries: &Histogram<u64>) -> AbuseReport {
    let under_attack = |all: &Histogram<u64>, calm: &Histogram<u64>| {
        let mut rest = all.clone();
        // Counts only grow, and the bounds are the same.
        let _ = rest.subtract(calm);
        Quantiles::from(&rest)
    };
    AbuseReport {
        calm_send: Quantiles::from(&attacked.calm_sends),
        calm_delivery: Quantiles::from(&attacked.calm_deliveries),
        attacked_send: under_attack(sends, &attacked.calm_sends),
        attacked_delivery: under_attack(deliveries, &attacked.calm_deliveries),
        attacks: attacked.attacks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_find_room_do_not_tell_what_one_takes() {
        let resident = |resident_kib| Usage {
            resident_kib,
            ..Usage::default()
        };
        let told = |full| kib_per_socket(resident(100), resident(full), 10);
        assert_eq!([150, 100, 90].map(told), [Some(5.0), None, None]);
    }
}

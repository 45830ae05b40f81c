//! Pure. The end of a run, as a table for people and as JSON for scripts.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

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

/// What the relay used, when it runs on this machine.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RelayUsage {
    /// During the run proper, without connecting.
    pub cpu_seconds: f64,
    pub deliveries_per_cpu_second: f64,
    /// With everyone subscribed, at the start of the run proper.
    pub resident_kib: u64,
    /// What the sockets added to the relay's memory, divided by them.
    pub kib_per_socket: f64,
    /// Its memory when everyone had left, by that before anyone came.
    pub left_over: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub scenario: String,
    pub about: String,
    pub sockets: usize,
    pub seconds: f64,
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
    /// CPU time of this program by wall time: near the number of cores, it is this
    /// program that was measured.
    pub generator_cores: f64,
    pub generator_was_the_bottleneck: bool,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        [self.failed, self.lost, self.duplicated, self.out_of_order] == [0; 4]
    }

    pub fn table(&self) -> String {
        let mut text = format!("\n{}: {}\n\n", self.scenario, self.about);
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {name:<22} {value}");
        };
        line("sockets", self.sockets.to_string());
        line(
            "messages sent",
            format!("{} ({} failed)", self.sent, self.failed),
        );
        line(
            "deliveries",
            format!("{} of {}", self.delivered, self.expected),
        );
        line(
            "faults",
            format!(
                "{} lost, {} duplicated, {} out of order",
                self.lost, self.duplicated, self.out_of_order
            ),
        );
        line(
            "connections",
            format!(
                "{} reconnects, {} refused attempts",
                self.reconnects, self.refused
            ),
        );
        if let Some(relay) = &self.relay {
            line(
                "relay",
                format!(
                    "{:.2} CPU s, {:.0} deliveries a CPU s, {:.1} MiB, {:.1} KiB a socket, {:.2} times the start's memory when all have left",
                    relay.cpu_seconds,
                    relay.deliveries_per_cpu_second,
                    relay.resident_kib as f64 / 1024.0,
                    relay.kib_per_socket,
                    relay.left_over
                ),
            );
        }
        line("generator", format!("{:.2} cores", self.generator_cores));
        let _ = writeln!(
            text,
            "\n  {:<22} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "ms", "count", "p50", "p90", "p99", "p99.9", "max"
        );
        for (name, q) in [
            ("connect to live", self.connect),
            ("send", self.send),
            ("delivery", self.delivery),
        ] {
            let _ = writeln!(
                text,
                "  {name:<22} {:>9} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                q.count, q.p50_ms, q.p90_ms, q.p99_ms, q.p999_ms, q.max_ms
            );
        }
        if self.generator_was_the_bottleneck {
            text.push_str("\n  The generator was short of CPU: latencies are partly its own.\n");
        }
        text
    }
}

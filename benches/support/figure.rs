//! One measured figure: a line for people, and the same as JSON for machines.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::io::Write;
use std::time::Duration;

use mls_relay_loadtest::load::report::Quantiles;
use mls_relay_loadtest::load::tally::Latencies;

/// What was measured, beside what it is compared with in the same run.
#[derive(serde::Serialize)]
pub(crate) struct Figure<'a> {
    name: &'a str,
    value: f64,
    unit: &'a str,
    /// The same measure of the thing it is compared with, if there is one.
    baseline: Option<f64>,
    /// How many times better than the baseline, or the value over it: see the name.
    ratio: Option<f64>,
    /// What the figure should be, in words.
    goal: &'a str,
}

impl<'a> Figure<'a> {
    pub(crate) fn new(name: &'a str, value: f64, unit: &'a str) -> Self {
        Self {
            name,
            value,
            unit,
            baseline: None,
            ratio: None,
            goal: "",
        }
    }

    /// Over this baseline.
    pub(crate) fn over(self, baseline: impl Into<Option<f64>>) -> Self {
        let baseline = baseline.into();
        Self {
            baseline,
            ratio: baseline.map(|baseline| self.value / baseline),
            ..self
        }
    }

    /// How many times less than this baseline.
    pub(crate) fn under(self, baseline: impl Into<Option<f64>>) -> Self {
        let baseline = baseline.into();
        Self {
            baseline,
            ratio: baseline.map(|baseline| baseline / self.value),
            ..self
        }
    }

    pub(crate) fn ratio(self, ratio: f64) -> Self {
        Self {
            ratio: Some(ratio),
            ..self
        }
    }

    pub(crate) fn goal(self, goal: &'a str) -> Self {
        Self { goal, ..self }
    }

    /// Prints the figure and appends it to `target/bench.jsonl`.
    pub(crate) fn record(&self) {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
        println!(
            "{:<44} {:>14.2} {:<12} baseline {:>12}  ratio {:>7}  goal {}",
            self.name,
            self.value,
            self.unit,
            number(self.baseline),
            number(self.ratio),
            self.goal
        );
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/target/bench.jsonl");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        let line = serde_json::to_string(self);
        if let (Ok(mut file), Ok(line)) = (file, line) {
            let written = writeln!(file, "{line}");
            assert!(written.is_ok(), "target/bench.jsonl cannot be written");
        }
    }
}

/// The median of what several turns came to; of an even number the upper one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Of many durations, as the load generator tells them.
pub(crate) fn quantiles(durations: impl IntoIterator<Item = Duration>) -> Quantiles {
    let latencies = Latencies::new().unwrap();
    for duration in durations {
        latencies.record(0, duration);
    }
    let quantiles = Quantiles::from(&latencies.sum().unwrap());
    assert!(quantiles.count > 0, "nothing was measured");
    quantiles
}

//! One measured figure: a line for people, and the same as JSON for machines.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::fmt;
use std::io::Write;
use std::time::Duration;

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

/// Of many durations, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Quantiles {
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = durations.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_unstable();
        let at = |per_mille: usize| {
            let index = (sorted.len() * per_mille / 1000).min(sorted.len() - 1);
            sorted[index].as_secs_f64() * 1e3
        };
        Self {
            p50: at(500),
            p99: at(990),
            p999: at(999),
        }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50, p99, p999 } = self;
        write!(f, "{p50:.2} / {p99:.2} / {p999:.2} ms")
    }
}

//! One measured figure: a line for people, and the same as JSON for machines.

use std::io::Write;

/// What was measured, beside what it is compared with in the same run.
#[derive(serde::Serialize)]
pub(crate) struct Figure<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: f64,
    pub(crate) unit: &'a str,
    /// The same measure of the thing it is compared with, if there is one.
    pub(crate) baseline: Option<f64>,
    /// How many times better than the baseline, or the value over it: see the name.
    pub(crate) ratio: Option<f64>,
    /// What the figure should be, in words.
    pub(crate) goal: &'a str,
}

impl Figure<'_> {
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

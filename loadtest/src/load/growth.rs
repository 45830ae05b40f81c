//! Pure. The same load again and again, larger each time along one axis.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use super::report::Report;
use super::scenario::Scenario;

/// What grows.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Sockets, in conversations as large as the scenario's, with as many messages a
    /// second in all.
    Sockets,
    /// Conversations of ten sockets, each with a message a second.
    Groups,
    /// Messages a second, over 100 conversations of ten sockets.
    Rate,
}

impl Axis {
    /// What is tried unless somebody asks for other steps.
    pub fn steps(self) -> &'static [usize] {
        match self {
            Self::Sockets => &[1_000, 2_000, 5_000, 10_000],
            Self::Groups => &[50, 100, 200, 400],
            Self::Rate => &[100, 200, 500, 1_000],
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Groups => "groups",
            Self::Rate => "rate",
        }
    }

    /// The scenario of one step.
    pub fn scenario(self, base: &Scenario, step: usize) -> Scenario {
        let mut scenario = base.clone();
        if self != Self::Sockets {
            (scenario.accounts, scenario.sockets) = (5, 2);
        }
        match self {
            Self::Sockets => {
                let each = scenario.accounts * scenario.sockets;
                scenario.conversations = step.div_ceil(each);
            }
            Self::Groups => {
                scenario.conversations = step;
                scenario.rate = step as f64;
            }
            Self::Rate => {
                scenario.conversations = 100;
                scenario.rate = step as f64;
            }
        }
        scenario
    }
}

/// All steps that were played.
#[derive(Clone, Debug, Serialize)]
pub struct Growth {
    pub axis: Axis,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The value on the axis.
    pub step: usize,
    pub report: Report,
}

impl Growth {
    /// Whether so many steps were played to their end, and were clean.
    pub fn is_clean(&self, steps: usize) -> bool {
        let is_clean = |step: &Step| step.report.is_clean && !step.report.is_cut_short;
        self.steps.len() == steps && self.steps.iter().all(is_clean)
    }

    pub fn table(&self) -> String {
        let mut text = format!(
            "\n  {:>7} {:>7} {:>10} {:>10} {:>10} {:>9} {:>8} {:>8}\n",
            self.axis.name(),
            "sockets",
            "KiB/socket",
            "deliveries",
            "CPU s/10 s",
            "per CPU s",
            "p50 ms",
            "p99 ms",
        );
        for Step { step, report } in &self.steps {
            let relay = report.relay.as_ref();
            let figure = |value: Option<f64>, digits: usize| {
                value.map_or("?".to_owned(), |value| format!("{value:.digits$}"))
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "  {step:>7} {:>7} {:>10} {:>10} {:>10} {:>9} {:>8.2} {:>8.2}",
                report.sockets,
                figure(relay.and_then(|relay| relay.kib_per_socket), 2),
                report.delivered,
                figure(relay.map(|relay| relay.cpu_seconds_in_ten), 2),
                figure(relay.map(|relay| relay.deliveries_per_cpu_second), 0),
                report.delivery.p50_ms,
                report.delivery.p99_ms,
            );
            let faults = (!report.is_clean).then(|| report.verdict());
            for remark in report.warnings().into_iter().chain(faults) {
                let _ = writeln!(text, "          {remark}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_that_breaks_off_is_not_clean() {
        let growth = Growth {
            axis: Axis::Rate,
            steps: Vec::new(),
        };
        assert!(!growth.is_clean(1));
    }

    #[test]
    fn each_axis_moves_its_own_figure() {
        let text = include_str!("../../scenarios/growth.toml");
        let base = Scenario::parse(text).unwrap();
        for axis in Axis::value_variants() {
            for step in axis.steps() {
                let scenario = axis.scenario(&base, *step);
                scenario.check().unwrap();
                let seen = match axis {
                    Axis::Sockets => scenario.total_sockets(),
                    Axis::Groups => scenario.conversations,
                    Axis::Rate => scenario.rate as usize,
                };
                assert_eq!(seen, *step, "{axis:?}");
            }
        }
    }
}

//! Pure. How the tasks went, for health.

use std::time::Duration;

/// How each task went last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Status {
    pub days: TaskStatus,
    pub key_packages: TaskStatus,
    pub nonces: TaskStatus,
}

/// How one task went last.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TaskStatus {
    pub failures_in_a_row: u32,
    /// Times in a row that another node was at it when this one looked.
    pub elsewhere_in_a_row: u32,
    pub runs: u64,
    /// Time at work in the last run: without its pauses.
    pub worked: Duration,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    /// What was due is done.
    Ok,
    /// Another node is at it, or holds its lock at least.
    Elsewhere,
    Failed,
}

impl Outcome {
    /// The label of its metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Elsewhere => "elsewhere",
            Self::Failed => "failed",
        }
    }
}

impl Status {
    /// Tasks that have failed too often in a row to be chance.
    pub fn failing(&self) -> Vec<&'static str> {
        self.named(|task| task.failures_in_a_row >= IN_A_ROW_MAX)
    }

    /// Tasks that another node has been at too often in a row to be chance.
    pub fn elsewhere(&self) -> Vec<&'static str> {
        self.named(|task| task.elsewhere_in_a_row >= IN_A_ROW_MAX)
    }

    fn named(&self, is_so: impl Fn(&TaskStatus) -> bool) -> Vec<&'static str> {
        let tasks = [
            ("days", &self.days),
            ("key_packages", &self.key_packages),
            ("nonces", &self.nonces),
        ];
        let found = tasks.into_iter().filter(|(_, task)| is_so(task));
        found.map(|(name, _)| name).collect()
    }
}

impl TaskStatus {
    pub(super) fn note(&mut self, outcome: Outcome, worked: Duration) {
        self.runs += 1;
        self.worked = worked;
        match outcome {
            Outcome::Ok => (self.failures_in_a_row, self.elsewhere_in_a_row) = (0, 0),
            // Nothing was done here, so it is no better than it was.
            Outcome::Elsewhere => {
                self.elsewhere_in_a_row = self.elsewhere_in_a_row.saturating_add(1);
            }
            Outcome::Failed => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.elsewhere_in_a_row = 0;
            }
        }
    }
}

/// Three failures take about half a minute.
const IN_A_ROW_MAX: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_elsewhere_mends_no_failure_and_shows_when_it_lasts() {
        let mut status = Status::default();
        let days = |status: &mut Status, outcome| status.days.note(outcome, Duration::ZERO);
        for _ in 0..3 {
            days(&mut status, Outcome::Failed);
        }
        assert_eq!(status.failing(), ["days"]);
        for _ in 0..3 {
            assert!(status.elsewhere().is_empty());
            days(&mut status, Outcome::Elsewhere);
        }
        assert_eq!(status.failing(), ["days"]);
        assert_eq!(status.elsewhere(), ["days"]);
        days(&mut status, Outcome::Ok);
        assert!(status.failing().is_empty() && status.elsewhere().is_empty());
        assert_eq!(status.days.runs, 7);
    }
}

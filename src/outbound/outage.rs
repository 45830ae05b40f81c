//! Tells operators that a service does not answer, and that it does again. Of thousands of
//! questions in an outage one is enough; and of a service that fails now and then, a few.

use std::fmt::Display;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How it stands with one service.
#[derive(Debug)]
pub(crate) struct Outage {
    /// As operators know it: the name of the setting.
    service: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_told: bool,
    last_told: Option<Instant>,
}

impl Outage {
    pub(crate) fn of(service: &'static str) -> Self {
        Self {
            service,
            state: Mutex::default(),
        }
    }

    /// A question has no answer. `why` names no account.
    pub(crate) fn failed(&self, why: impl Display) {
        let mut state = self.state.lock();
        let is_early = state
            .last_told
            .is_some_and(|told| told.elapsed() < TOLD_EVERY);
        if state.is_told || is_early {
            return;
        }
        (state.is_told, state.last_told) = (true, Some(Instant::now()));
        tracing::warn!(service = self.service, error = %why, "a service that is asked does not answer");
    }

    pub(crate) fn answered(&self) {
        if std::mem::take(&mut self.state.lock().is_told) {
            tracing::warn!(
                service = self.service,
                "a service that is asked answers again"
            );
        }
    }
}

/// Often enough for whoever reads the log, and no flood.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::logged;

    #[test]
    fn an_outage_is_told_once_with_its_cause_and_so_is_its_end() {
        let outage = Outage::of("auth.plc_url");
        let said = logged(|| {
            outage.answered();
            for _ in 0..1000 {
                outage.failed("could not connect: connection refused");
            }
            outage.answered();
            // It flaps.
            for _ in 0..1000 {
                outage.failed("could not connect: connection refused");
                outage.answered();
            }
        });
        assert_eq!(said.lines().count(), 2, "{said}");
        let (began, ended) = said.split_once('\n').unwrap();
        assert!(began.contains("connection refused"), "{said}");
        assert!(ended.contains("auth.plc_url"), "{said}");
        assert!(ended.contains("answers again"), "{said}");
    }
}

//! Whether the relay lives, and whether it should be sent work.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::runtime::Shutdown;

/// What a look at one thing has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    is_well: bool,
    /// Why it is not well, or what an operator should know although it is.
    cause: Option<String>,
    figures: Vec<(&'static str, u64)>,
}

impl Finding {
    pub fn ill(cause: impl Into<String>) -> Self {
        Self::default().noting(cause)
    }

    pub fn well() -> Self {
        Self {
            is_well: true,
            ..Self::default()
        }
    }

    /// With something that an operator should know.
    pub fn noting(mut self, cause: impl Into<String>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// With a figure; its name tells the unit.
    pub fn with(mut self, name: &'static str, figure: u64) -> Self {
        self.figures.push((name, figure));
        self
    }

    fn report(self) -> Value {
        let mut report = Map::new();
        report.insert("ok".to_owned(), self.is_well.into());
        if let Some(cause) = self.cause {
            report.insert("cause".to_owned(), cause.into());
        }
        let figures = self.figures.into_iter();
        report.extend(figures.map(|(name, figure)| (name.to_owned(), figure.into())));
        report.into()
    }
}

/// One thing that serving depends on. Looking must be cheap: anyone may ask.
#[derive(Clone)]
pub struct Probe {
    name: &'static str,
    /// Whether we are of no use without it.
    is_vital: bool,
    look: Arc<dyn Fn() -> Finding + Send + Sync>,
}

impl Probe {
    /// Something that readiness depends on.
    pub fn vital(name: &'static str, look: impl Fn() -> Finding + Send + Sync + 'static) -> Self {
        Self {
            name,
            is_vital: true,
            look: Arc::new(look),
        }
    }

    /// Something that an operator should see, but that no client notices at once.
    pub fn informative(
        name: &'static str,
        look: impl Fn() -> Finding + Send + Sync + 'static,
    ) -> Self {
        Self {
            is_vital: false,
            ..Self::vital(name, look)
        }
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.name)
    }
}

/// Everything that readiness depends on.
#[derive(Clone, Debug)]
pub struct Health {
    shutdown: Shutdown,
    probes: Arc<[Probe]>,
}

impl Health {
    pub fn new(shutdown: Shutdown, probes: impl Into<Arc<[Probe]>>) -> Self {
        Self {
            shutdown,
            probes: probes.into(),
        }
    }

    /// Whether everything we need is there, and we are not on the way out.
    pub fn is_ready(&self) -> bool {
        let mut vital = self.probes.iter().filter(|probe| probe.is_vital);
        !self.shutdown.is_leaving() && vital.all(|probe| (probe.look)().is_well)
    }

    /// The same, as load balancers read it.
    pub(super) fn ready(&self) -> StatusCode {
        status(self.is_ready())
    }

    /// The same in detail, for the operator's eyes only: all of it as one look has shown.
    pub(super) fn report(&self) -> (StatusCode, Value) {
        let probes = self.probes.iter();
        let findings: Vec<_> = probes.map(|probe| (probe, (probe.look)())).collect();
        let drain = self.drain();
        let mut vital = findings.iter().filter(|(probe, _)| probe.is_vital);
        let is_ready = drain.is_well && vital.all(|(_, finding)| finding.is_well);
        let findings = findings.into_iter();
        let findings = findings.map(|(probe, finding)| (probe.name, finding));
        let checks: Map<_, _> = findings
            .chain([("drain", drain)])
            .map(|(name, finding)| (name.to_owned(), finding.report()))
            .collect();
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": is_ready,
            "draining": self.shutdown.is_draining(),
            "checks": checks,
        });
        (status(is_ready), report)
    }

    fn drain(&self) -> Finding {
        match (self.shutdown.is_draining(), self.shutdown.is_leaving()) {
            (true, _) => Finding::ill("told to stop; sockets are being sent elsewhere"),
            (false, true) => Finding::ill("told to stop; balancers have time to notice"),
            (false, false) => Finding::well(),
        }
    }
}

fn status(is_ready: bool) -> StatusCode {
    match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn ready_follows_the_probes_and_the_drain() {
        let well = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&well);
        let shutdown = Shutdown::default();
        let probe = Probe::vital("postgres", move || match seen.load(Ordering::Relaxed) {
            true => Finding::well(),
            false => Finding::ill("it starts"),
        });
        let health = Health::new(shutdown.clone(), vec![probe]);
        assert_eq!(health.ready(), StatusCode::SERVICE_UNAVAILABLE);
        well.store(true, Ordering::Relaxed);
        assert_eq!(health.ready(), StatusCode::OK);
        shutdown.drain(Duration::ZERO).await;
        assert_eq!(health.ready(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn the_report_tells_causes_and_figures_and_what_is_not_vital_leaves_us_ready() {
        let slow = || Finding::well().noting("by polling").with("lagMs", 7);
        let probes = vec![
            Probe::vital("events", slow),
            Probe::informative("config", || Finding::ill("relay.toml:2: no")),
        ];
        let (status, report) = Health::new(Shutdown::default(), probes).report();
        let expected = json!({
            "config": {"ok": false, "cause": "relay.toml:2: no"},
            "drain": {"ok": true},
            "events": {"ok": true, "cause": "by polling", "lagMs": 7},
        });
        assert_eq!(report["checks"], expected);
        assert_eq!((status, &report["ready"]), (StatusCode::OK, &json!(true)));
    }

    #[test]
    fn whatever_changes_between_two_looks_a_report_does_not_contradict_itself() {
        let is_well = AtomicBool::new(false);
        let probe = Probe::vital("postgres", move || {
            match is_well.fetch_not(Ordering::Relaxed) {
                true => Finding::well(),
                false => Finding::ill("it starts"),
            }
        });
        let health = Health::new(Shutdown::default(), vec![probe]);
        for is_well in [false, true] {
            let (status, report) = health.report();
            assert_eq!(status == StatusCode::OK, is_well);
            assert_eq!(report["ready"], is_well);
            assert_eq!(report["checks"]["postgres"]["ok"], is_well);
        }
    }
}

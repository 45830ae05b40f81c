//! Whether the relay lives, and whether it should be sent work.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;

use crate::runtime::Shutdown;

/// One thing that serving depends on. Looking must be cheap: anyone may ask.
#[derive(Clone)]
pub struct Probe {
    name: &'static str,
    /// Whether we are of no use without it.
    is_vital: bool,
    is_well: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Probe {
    /// Something that readiness depends on.
    pub fn vital(name: &'static str, is_well: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            name,
            is_vital: true,
            is_well: Arc::new(is_well),
        }
    }

    /// Something that an operator should see, but that no client notices at once.
    pub fn informative(
        name: &'static str,
        is_well: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            is_vital: false,
            ..Self::vital(name, is_well)
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

    /// Live: this answers, so nobody needs to restart us.
    pub(super) fn live() -> StatusCode {
        StatusCode::OK
    }

    /// Whether everything we need is there, and we are not on the way out.
    pub fn is_ready(&self) -> bool {
        let mut vital = self.probes.iter().filter(|probe| probe.is_vital);
        !self.shutdown.is_draining() && vital.all(|probe| (probe.is_well)())
    }

    /// The same, as load balancers read it.
    pub(super) fn ready(&self) -> StatusCode {
        match self.is_ready() {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The same in detail, for the operator's eyes only.
    pub(super) fn report(&self) -> serde_json::Value {
        let checks: serde_json::Map<_, _> = self
            .probes
            .iter()
            .map(|probe| (probe.name.to_owned(), (probe.is_well)().into()))
            .collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.is_ready(),
            "draining": self.shutdown.is_draining(),
            "checks": checks,
        })
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
        let probe = Probe::vital("postgres", move || seen.load(Ordering::Relaxed));
        let health = Health::new(shutdown.clone(), vec![probe]);
        assert_eq!(health.ready(), StatusCode::SERVICE_UNAVAILABLE);
        well.store(true, Ordering::Relaxed);
        assert_eq!(health.ready(), StatusCode::OK);
        shutdown.drain(Duration::ZERO).await;
        assert_eq!(health.ready(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(Health::live(), StatusCode::OK);
    }
}

//! The metrics of the process, recorded by every area and read on the admin listener. What
//! they mean is said once, on the operators' page.

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Reads what was recorded. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("the histogram buckets are not valid")]
    Buckets(#[from] BuildError),
    #[error("another metrics recorder is already installed")]
    Installed,
}

impl Metrics {
    /// Makes this process's recorder the one that `metrics::counter!` and its
    /// siblings write to. Call once.
    pub fn install() -> Result<Self, MetricsError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(SECONDS)?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| MetricsError::Installed)?;
        describe();
        begin_at_zero();
        Ok(Self(handle))
    }

    /// Everything recorded, in the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what histograms gathered since the last call. Without it they grow
    /// until someone scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// A row for each metric: its name, its kind and labels, its meaning.
const PAGE: &str = include_str!("../../docs/metrics.md");

/// Has every metric say what it means, as the page does.
fn describe() {
    for row in PAGE.lines() {
        let cells: Vec<_> = row.split(" | ").collect();
        let [name, kind, meaning] = cells[..] else {
            continue;
        };
        let name = name.trim_matches(['|', ' ', '`']);
        let meaning = meaning.trim_end_matches(" |").replace('`', "");
        match kind.split(' ').next() {
            Some("counter") => metrics::describe_counter!(name, meaning),
            Some("gauge") => metrics::describe_gauge!(name, meaning),
            Some("histogram") => metrics::describe_histogram!(name, meaning),
            _ => {}
        }
    }
}

/// Shows what should never happen before it does: an alert on an increase sees the first one
/// only if there was a zero before.
fn begin_at_zero() {
    for name in [
        "relay_process_panics_total",
        "relay_events_holes_total",
        "relay_events_unreadable_total",
        "relay_edge_accept_errors_total",
    ] {
        metrics::counter!(name).increment(0);
    }
    for reason in ["full", "refused", "repeated"] {
        metrics::counter!("relay_log_lines_dropped_total", "reason" => reason).increment(0);
    }
    for task in ["days", "key_packages", "nonces"] {
        for outcome in ["ok", "failed"] {
            metrics::counter!(
                "relay_retention_runs_total", "task" => task, "outcome" => outcome
            )
            .increment(0);
        }
    }
    metrics::counter!("relay_store_errors_total", "kind" => "disk_full").increment(0);
    let broken = "InternalError";
    metrics::counter!("relay_sessions_closed_total", "close_reason" => broken).increment(0);
    // What fails is a part of all, also where none was completed yet.
    let _ = metrics::histogram!("relay_edge_handshake_seconds", "kind" => "full");
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Histograms are in seconds: from a cached token check to a patient client.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

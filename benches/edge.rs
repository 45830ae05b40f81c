//! The edge with everything in it (TLS, tokens, WebSocket, pings, Postgres), as a process
//! of its own with real clients: what an idle subscription costs. What a delivery costs is
//! in `fanout`.
//!
//! Needs the release binaries: `make bench` builds them.

#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

#[path = "support/figure.rs"]
mod figure;

use std::sync::Arc;

use figure::Figure;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::load::report::Report;
use mls_relay_loadtest::load::scenario::Scenario;
use mls_relay_loadtest::load::{Stop, Target, run};
use mls_relay_loadtest::relay_process::{RelayOptions, RelayProcess};

#[tokio::main]
async fn main() {
    let idle = play("idle", include_str!("../loadtest/scenarios/idle.toml")).await;
    let relay = idle.relay.unwrap();
    Figure::new("idle_kib_per_socket", relay.kib_per_socket, "KiB")
        .goal("at most 6, above 8 is not done")
        .record();
    Figure::new(
        "memory_after_mass_disconnect",
        relay.left_over,
        "of the start",
    )
    .ratio(relay.left_over)
    .goal("at most 1.1")
    .record();
}

/// One scenario against a relay that is started for it.
async fn play(name: &str, text: &str) -> Report {
    let scenario = Scenario::parse(text).unwrap();
    let directory = Directory::start().await.unwrap();
    let options = RelayOptions::built(directory.url(), scenario.relay_environment());
    let process = RelayProcess::start(&options.unwrap()).await.unwrap();
    let relay = process.relay().unwrap();
    let target = Target {
        relay: Arc::new(relay),
        directory: &directory,
        admin: None,
        pid: Some(process.pid()),
    };
    let report = run(name, &scenario, &target, &Stop::default(), |_| ())
        .await
        .unwrap();
    assert!(report.is_clean, "{}", report.table());
    report
}

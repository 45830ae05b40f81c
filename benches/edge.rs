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
use mls_relay_loadtest::load::scenario::Scenario;
use mls_relay_loadtest::load::{Stop, Target, run, scenarios};
use mls_relay_loadtest::relay_process::RelayProcess;

#[tokio::main]
async fn main() {
    let scenario = Scenario::parse(scenarios::named("idle").unwrap()).unwrap();
    let directory = Directory::start().await.unwrap();
    let process = RelayProcess::start_built(directory.url(), scenario.relay_environment());
    let process = process.await.unwrap();
    let target = Target {
        relay: Arc::new(process.relay().unwrap()),
        directory: &directory,
        admin: None,
        pid: Some(process.pid()),
    };
    let idle = run("idle", &scenario, &target, &Stop::default(), |_| ()).await;
    let idle = idle.unwrap();
    assert!(idle.is_clean, "{}", idle.table());
    let relay = idle.relay.unwrap();
    Figure::new("idle_kib_per_socket", relay.kib_per_socket.unwrap(), "KiB")
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

//! Health tells what is away and why, and is well again by itself.

use hyper::StatusCode;
use serde_json::Value;

use crate::database::Database;
use crate::relay::{Home, Relay, eventually};
use crate::tls::Client;

async fn health(relay: &Relay) -> (StatusCode, Value) {
    let (status, report) = relay.ask_admin("/health").await;
    (status, serde_json::from_str(&report).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_postgres_is_told_with_its_cause_and_ends_by_itself() {
    let mut database = Database::start().await;
    let relay = Home::new().with("DATABASE_URL", &database.url()).start();
    assert_eq!(health(&relay).await.0, StatusCode::OK);
    database.down("fast");
    eventually("it is told", || async {
        let (status, report) = health(&relay).await;
        let checks = &report["checks"];
        let told = |name: &str| checks[name]["ok"] == false && checks[name]["cause"].is_string();
        status == StatusCode::SERVICE_UNAVAILABLE
            && report["ready"] == false
            && told("database")
            && told("events")
            && checks["config"]["ok"] == true
    })
    .await;
    // Strangers hear the status and nothing else; nobody needs to restart us.
    let answer = Client::http1(&relay).get(&relay, "/health/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(relay.ask_admin("/health/live").await.0, StatusCode::OK);
    database.up().await;
    eventually("it is well again", || async {
        let (status, report) = health(&relay).await;
        status == StatusCode::OK && report["checks"]["database"].get("cause").is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_cut_off_is_told_while_events_are_polled() {
    let database = Database::start().await;
    let relay = Home::new()
        .with("DATABASE_URL", &database.url())
        .with(
            "DATABASE_LISTEN_URL",
            "host=/nowhere user=relay dbname=postgres",
        )
        .start();
    eventually("polling, with its cause", || async {
        let (status, report) = health(&relay).await;
        let events = &report["checks"]["events"];
        let cause = events["cause"].as_str().unwrap_or_default();
        status == StatusCode::OK
            && events["ok"] == true
            && cause == "the listening connection is down; events are read by polling"
    })
    .await;
    // Nobody sings where nobody listens: no canary was late.
    let (_, metrics) = relay.ask_admin("/metrics").await;
    assert!(!metrics.contains("relay_events_canaries_late_total"));
}

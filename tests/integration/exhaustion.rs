//! What the system has no more of for a while: the relay says so, and goes on by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use mls_relay_loadtest::ask;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::relay::{Home, Relay, eventually};
use crate::tls::Client;

/// Allows a process so many more descriptors than it has.
fn allow_descriptors(process: Pid, more: u64) {
    let path = format!("/proc/{}/fd", process.as_raw_nonzero());
    let open = fs::read_dir(path).unwrap().count() as u64;
    limit_descriptors(process, open + more);
}

/// It gets none from this number on.
fn limit_descriptors(process: Pid, first_refused: u64) {
    let most = Rlimit {
        current: Some(first_refused),
        maximum: getrlimit(Resource::Nofile).maximum,
    };
    prlimit(Some(process), Resource::Nofile, most).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_descriptors_clients_leave_some_for_its_operator_and_its_database() {
    let home = Home::lived_in();
    let script = home.path().join("with-few-descriptors");
    let relay = env!("CARGO_BIN_EXE_mls-relay");
    let text = format!("#!/bin/sh\nulimit -n 200\nexec {relay} \"$@\"\n");
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // One address has all of them.
    let home = home.with("LIMITS_EXEMPT", "127.0.0.0/8");
    let relay = home.of(script).start();
    let mut held = Vec::new();
    for _ in 0..400 {
        held.push(TcpStream::connect(relay.public).await.unwrap());
    }
    eventually("as many as there is room for are open", async || {
        relay
            .figure("relay_limits_open{rule=\"connections_total\"}")
            .await
            == Some(100)
    })
    .await;
    assert!(!relay.log().contains("cannot accept"), "{}", relay.log());
    assert!(relay.is_ready().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_have_so_many_connections_and_whoever_finds_none_is_counted() {
    let relay = Home::lived_in()
        .with("RELAY_ADMIN_CONNECTIONS_MAX", "2")
        .start();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(relay.admin).await.unwrap());
    }
    let mut turned_away = held.pop().unwrap();
    let mut answer = [0];
    let read = turned_away.read(&mut answer);
    let read = timeout(Duration::from_secs(30), read).await.unwrap();
    assert!(!matches!(read, Ok(1..)), "{read:?}");
    drop(held);
    eventually("there are places again, and it is counted", async || {
        let refused = ask::figure(relay.admin, "relay_edge_admin_refused_total").await;
        refused.is_ok_and(|count| count > Some(0))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_nothing_of_its_metrics_gives_its_place_to_an_operator() {
    let relay = Home::lived_in()
        .with("RELAY_ADMIN_CONNECTIONS_MAX", "1")
        .with("RELAY_STALL_TIMEOUT_SECONDS", "5")
        .start();
    let mut scraper = TcpStream::connect(relay.admin).await.unwrap();
    // More than the two kernels take.
    let asked = "GET /metrics HTTP/1.1\r\nhost: admin\r\n\r\n".repeat(2_000);
    scraper.write_all(asked.as_bytes()).await.unwrap();
    let is_answered = async || ask::admin(relay.admin, "/health/live").await.is_ok();
    assert!(!is_answered().await);
    eventually("there is a place again", is_answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_who_come_while_there_are_no_descriptors_are_answered_when_there_are() {
    let relay = Relay::start();
    assert!(relay.is_ready().await);
    // Not even one that was given back.
    limit_descriptors(relay.process(), 0);
    let mut operators = Vec::new();
    for _ in 0..4 {
        let mut operator = TcpStream::connect(relay.admin).await.unwrap();
        let request = "GET /health/live HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
        operator.write_all(request.as_bytes()).await.unwrap();
        operators.push(operator);
    }
    relay.says("cannot accept");
    allow_descriptors(relay.process(), 1000);
    for mut operator in operators {
        let mut answer = String::new();
        let read = operator.read_to_string(&mut answer);
        timeout(Duration::from_secs(30), read)
            .await
            .unwrap()
            .unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    assert!(relay.figure("relay_edge_accept_errors_total").await > Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_it_waits_and_with_them_it_accepts_again() {
    let relay = Relay::start();
    let client = Client::http1(&relay);
    // Its pools have opened what they need.
    let answer = client.get(&relay, "/xrpc/_health", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    allow_descriptors(relay.process(), 2);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(TcpStream::connect(relay.public).await.unwrap());
    }
    eventually("it says what it has none of", async || {
        relay.log().contains("cannot accept")
    })
    .await;
    assert!(
        relay.log().contains("Too many open files"),
        "{}",
        relay.log()
    );
    drop(held);
    let answer = client.get(&relay, "/xrpc/_health", "").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    allow_descriptors(relay.process(), 1000);
    eventually("its operator hears of it", async || {
        relay.figure("relay_edge_accept_errors_total").await > Some(0)
    })
    .await;
    // No faster than it can be of use.
    let said = relay.log().matches("cannot accept").count();
    assert!(said < 100, "{said} times");
}

//! What becomes of the process when a task of its own panics.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{self, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use rustix::process::{Pid, kill_process};

use super::*;

/// Whoever first counts in this metric panics, in the middle of its work.
struct Fault {
    metric: String,
    is_due: AtomicBool,
}

impl Fault {
    fn meet(&self, key: &Key) {
        let is_met = key.name() == self.metric && self.is_due.swap(false, Ordering::Relaxed);
        assert!(!is_met, "as a fault of ours would");
    }
}

impl Recorder for Fault {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.meet(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.meet(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.meet(key);
        Histogram::noop()
    }
}

/// A relay in this process, one of whose tasks panics.
fn serve_to_the_fault(metric: String) -> ExitCode {
    let loaded = Config::load(&Source::process(None).unwrap()).unwrap();
    let beginnings = Beginnings {
        file: None,
        logs: telemetry::install_logs(&loaded.config.log).unwrap(),
        metrics: Metrics::install().unwrap(),
        loaded,
    };
    let fault = Fault {
        metric,
        is_due: AtomicBool::new(true),
    };
    // A recorder is this thread's, and so is such a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&fault, || runtime.block_on(serve(beginnings)))
}

/// What was seen of a relay one of whose tasks panics over this metric: its end and its
/// log. It is in a process of its own, since the log and the metrics are their process'.
fn observed(test: &str, metric: &str, meanwhile: impl FnOnce(SocketAddr, Pid)) -> (bool, String) {
    let home = tempfile::tempdir().unwrap();
    // The private Postgres of a relay that root starts is another user.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut child = process::Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("tests::{test}"), "--nocapture"])
        .current_dir(home.path())
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .envs([
            (CHILD, metric),
            ("RELAY_LISTEN", "127.0.0.1:0"),
            ("RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
            ("RELAY_PG_DURABLE", "false"),
            ("RUST_LOG", "warn"),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let mut said = said.lines().map_while(Result::ok);
    let address = said.find_map(|line| {
        let (_, place) = line.split_once("ready: https://localhost:")?;
        Some((Ipv4Addr::LOCALHOST, place.split_once(' ')?.0.parse().ok()?).into())
    });
    if let Some(address) = address {
        meanwhile(address, Pid::from_child(&child));
    }
    let ended = child.wait_with_output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    (ended.status.success(), log)
}

/// The test's part in the relay's process, if this is that.
fn serve_here() -> Option<ExitCode> {
    let metric = env::var_os(CHILD)?;
    Some(serve_to_the_fault(metric.into_string().unwrap()))
}

#[test]
fn a_relay_whose_canary_has_panicked_leaves_with_1() {
    if let Some(code) = serve_here() {
        return assert_eq!(code, ExitCode::FAILURE);
    }
    let test = "a_relay_whose_canary_has_panicked_leaves_with_1";
    let (is_well, log) = observed(test, "relay_events_notification_queue_usage", |_, _| {});
    assert!(is_well, "{log}");
    assert!(log.contains("a task that all others need"), "{log}");
}

#[test]
fn a_panic_over_one_connection_costs_no_other() {
    if let Some(code) = serve_here() {
        return assert_eq!(code, ExitCode::SUCCESS);
    }
    let test = "a_panic_over_one_connection_costs_no_other";
    let (is_well, log) = observed(test, "relay_edge_connections_total", |address, relay| {
        let is_waited_for = || {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.read(&mut [0])
        };
        let ends = [is_waited_for(), is_waited_for()].map(|end| end.map_err(|e| e.kind()));
        kill_process(relay, rustix::process::Signal::TERM).unwrap();
        assert_eq!(ends, [Ok(0), Err(io::ErrorKind::WouldBlock)]);
    });
    assert!(is_well, "{log}");
    assert!(log.contains("a task panicked"), "{log}");
}

const CHILD: &str = "MLS_RELAY_TEST_OF_A_PANIC";

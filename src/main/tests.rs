//! What becomes of the process when a task of its own panics.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use fault::Fault;
use rustix::process::{Pid, kill_process};

use super::*;

#[path = "../../tests/support/fault.rs"]
mod fault;

/// A relay in this process, whose tasks panic over these metrics.
fn serve_to_the_fault(metrics: &str) -> ExitCode {
    let loaded = Config::load(&Source::process(None).unwrap()).unwrap();
    let (logs, outlet) = telemetry::install_logs(&loaded.config.log).unwrap();
    let _at_last = outlet.flushed_at_last();
    let beginnings = Beginnings {
        file: None,
        logs,
        metrics: Metrics::install().unwrap(),
        loaded,
    };
    let fault = Fault::at(metrics.split(',').map(|metric| (metric.to_owned(), 1)));
    // A recorder is this thread's, and so is such a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = metrics::with_local_recorder(&fault, || runtime.block_on(serve(beginnings)));
    ended.unwrap()
}

/// A relay whose tasks panic, in a process of its own, since the log and the metrics are
/// their process'.
struct Observed {
    address: Option<SocketAddr>,
    process: process::Child,
    /// What it says is of no interest any more; but it must be able to say it.
    _said: BufReader<process::ChildStdout>,
    home: tempfile::TempDir,
}

impl Observed {
    fn start(test: &str, metrics: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        // The private Postgres of a relay that root starts is another user.
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut process = process::Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("tests::{test}"), "--nocapture"])
            .current_dir(home.path())
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .envs([
                (CHILD, metrics),
                ("RELAY_LISTEN", "127.0.0.1:0"),
                ("RELAY_ADMIN_LISTEN", "127.0.0.1:0"),
                ("RELAY_PG_DURABLE", "false"),
                ("RUST_LOG", "warn"),
                // Where nobody answers.
                ("ACME_DIRECTORY", "https://127.0.0.1:1/"),
                ("ACME_DOMAINS", "relay.example.com"),
            ])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(home.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        let mut lines = said.by_ref().lines().map_while(Result::ok);
        let address = lines.find_map(|line| {
            let (_, place) = line.split_once("ready: https://")?;
            place.split_once(' ')?.0.parse().ok()
        });
        Self {
            address,
            process,
            _said: said,
            home,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    fn write(&self, file: impl AsRef<Path>, text: &str) {
        fs::write(self.home.path().join(file), text).unwrap();
    }

    fn waits_for(&self, word: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.log().contains(word) {
            assert!(Instant::now() < deadline, "no {word}:\n{}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&self) {
        let process = Pid::from_child(&self.process);
        kill_process(process, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, which must be the one that the test in its process expects.
    fn ended_as_expected(mut self) -> String {
        let is_well = self.process.wait().unwrap().success();
        assert!(is_well, "{}", self.log());
        self.log()
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The test's part in the relay's process, if this is that.
fn serve_here() -> Option<ExitCode> {
    let metrics = env::var_os(CHILD)?;
    Some(serve_to_the_fault(&metrics.into_string().unwrap()))
}

#[test]
fn a_relay_whose_canary_has_panicked_leaves_with_1() {
    if let Some(code) = serve_here() {
        return assert_eq!(code, ExitCode::FAILURE);
    }
    let test = "a_relay_whose_canary_has_panicked_leaves_with_1";
    let relay = Observed::start(test, "relay_events_notification_queue_usage");
    let log = relay.ended_as_expected();
    assert!(log.contains("a task that all others need"), "{log}");
}

#[test]
fn a_panic_over_one_connection_costs_no_other() {
    if let Some(code) = serve_here() {
        return assert_eq!(code, ExitCode::SUCCESS);
    }
    let test = "a_panic_over_one_connection_costs_no_other";
    let relay = Observed::start(test, "relay_edge_connections_total");
    let is_waited_for = || {
        let mut stream = TcpStream::connect(relay.address.unwrap())?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.read(&mut [0])
    };
    let ends = [is_waited_for(), is_waited_for()].map(|end| end.map_err(|e| e.kind()));
    relay.stop();
    assert_eq!(ends, [Ok(0), Err(io::ErrorKind::WouldBlock)]);
    let log = relay.ended_as_expected();
    assert!(log.contains("a task panicked"), "{log}");
}

#[test]
fn what_keeps_a_relay_in_order_begins_again_after_a_panic() {
    if let Some(code) = serve_here() {
        return assert_eq!(code, ExitCode::SUCCESS);
    }
    let test = "what_keeps_a_relay_in_order_begins_again_after_a_panic";
    let panicking = [
        ("acme", "relay_acme_orders_total"),
        ("postgres", "relay_postgres_up"),
        ("pulse", "relay_store_up"),
        ("reload", "relay_config_reloads_total"),
    ];
    let relay = Observed::start(test, &panicking.map(|(_, metric)| metric).join(","));
    relay.write("relay.toml", "[limits]\nip_burst = 77\n");
    for (task, _) in panicking {
        relay.waits_for(&format!(
            "a task that has panicked begins again task=\"{task}\""
        ));
    }
    // What it had begun is done, and what is asked of it next as well.
    for burst in ["77", "78"] {
        relay.write("relay.toml", &format!("[limits]\nip_burst = {burst}\n"));
        relay.waits_for(&format!("value=\"{burst}\""));
    }
    assert!(
        relay
            .home
            .path()
            .join(".relay/postgres/cluster/postmaster.pid")
            .exists()
    );
    relay.stop();
    let log = relay.ended_as_expected();
    assert!(!log.contains("the private Postgres has ended"), "{log}");
    assert!(!log.contains("leaving"), "{log}");
}

const CHILD: &str = "MLS_RELAY_TEST_OF_A_PANIC";

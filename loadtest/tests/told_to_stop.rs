//! A program that has started a relay stops it, whichever way it is told to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Says who it is and never becomes ready: a relay that only waits to be stopped.
const RELAY: &str =
    "#!/bin/sh\necho $$ >\"$HOME/new\" && mv \"$HOME/new\" \"$HOME/pid\"\nexec sleep 600\n";

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn stops_its_relay(program: &str, arguments: &[&str], told: Signal) {
    let home = tempfile::tempdir().unwrap();
    let relay = home.path().join("relay");
    std::fs::write(&relay, RELAY).unwrap();
    std::fs::set_permissions(&relay, PermissionsExt::from_mode(0o755)).unwrap();
    let mut child = Command::new(program)
        .args(arguments)
        .arg(&relay)
        .env("HOME", home.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the relay was not started", || {
        home.path().join("pid").exists()
    });
    let relay = pid(&home.path().join("pid"));
    kill_process(Pid::from_child(&child), told).unwrap();
    wait_until("the program goes on", || {
        child.try_wait().unwrap().is_some()
    });
    let is_gone = || test_kill_process(relay).is_err();
    let outlived = !is_gone();
    if outlived {
        kill_process(relay, Signal::KILL).unwrap();
    }
    assert!(!outlived, "{program} left its relay behind at {told:?}");
}

fn pid(file: &Path) -> Pid {
    let text = std::fs::read_to_string(file).unwrap();
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

#[test]
fn a_relay_ends_with_the_program_that_started_it() {
    let demo = (env!("CARGO_BIN_EXE_demo"), &["--relay"][..]);
    let loadtest = (
        env!("CARGO_BIN_EXE_loadtest"),
        &["run", "chat", "--binary"][..],
    );
    for (program, arguments) in [demo, loadtest] {
        for told in [Signal::INT, Signal::TERM, Signal::HUP] {
            stops_its_relay(program, arguments, told);
        }
    }
}

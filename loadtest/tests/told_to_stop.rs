//! A program that has started a relay stops it, whichever way it is told to end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

/// Says who it is and never becomes ready: a relay that only waits to be stopped, and notes
/// how it was.
const RELAY: &str = r#"#!/bin/sh
sleep 600 &
for told in INT TERM HUP; do
    trap "echo $told >>\"$HOME/told\"; kill $!; exit" $told
done
echo $$ >"$HOME/new" && mv "$HOME/new" "$HOME/pid"
wait
"#;

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the program to end, and all of its group if it is told as by a terminal. What its
/// relay was told meanwhile.
fn stops_its_relay(program: &str, arguments: &[&str], told: Signal, by_terminal: bool) -> String {
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
    let program_id = Pid::from_child(&child);
    match by_terminal {
        true => kill_process_group(program_id, told).unwrap(),
        false => kill_process(program_id, told).unwrap(),
    }
    wait_until("the program goes on", || {
        child.try_wait().unwrap().is_some()
    });
    let is_gone = || test_kill_process(relay).is_err();
    let outlived = !is_gone();
    if outlived {
        kill_process(relay, Signal::KILL).unwrap();
    }
    assert!(!outlived, "{program} left its relay behind at {told:?}");
    std::fs::read_to_string(home.path().join("told")).unwrap()
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
            let told = stops_its_relay(program, arguments, told, false);
            assert_eq!(told, "TERM\n", "{program}");
        }
    }
}

#[test]
fn ctrl_c_leaves_the_relay_to_the_load_generator_which_is_not_done_with_it() {
    let loadtest = env!("CARGO_BIN_EXE_loadtest");
    let told = stops_its_relay(loadtest, &["run", "chat", "--binary"], Signal::INT, true);
    assert_eq!(told, "TERM\n");
}

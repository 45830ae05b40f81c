//! The systemd unit, and the configurations of proxies.

use std::path::Path;
use std::process::Command;

use crate::{is_ours, read, root, tool};

const UNIT: &str = "deploy/mls-relay.service";

/// The values of a directive, in order.
fn directive<'a>(unit: &'a str, name: &str) -> Vec<&'a str> {
    unit.lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

/// The unit with a program that exists here, since systemd looks for it.
fn judged_unit(directory: &Path) -> String {
    let path = directory.join("mls-relay.service");
    let unit = read(UNIT).replace("/usr/local/bin/mls-relay", "/bin/true");
    std::fs::write(&path, unit).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn systemd_finds_no_fault_in_the_unit_and_little_exposure() {
    let directory = tempfile::tempdir().unwrap();
    let unit = judged_unit(directory.path());
    let Some(verdict) = tool("systemd-analyze", &["verify", "--man=no", &unit]) else {
        return;
    };
    let said = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success() && said.is_empty(), "{said}");

    // Tenths: at most 2.0 of 10.
    let security = [
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=20",
        &unit,
    ];
    let verdict = tool("systemd-analyze", &security).unwrap();
    let said = String::from_utf8_lossy(&verdict.stdout);
    assert!(verdict.status.success(), "too exposed:\n{said}");
}

#[test]
fn the_unit_sets_only_variables_that_the_relay_reads() {
    let unit = read(UNIT);
    for assignment in directive(&unit, "Environment") {
        let (name, value) = assignment.split_once('=').unwrap();
        assert!(is_ours(name) && !value.is_empty(), "{assignment}");
    }
    assert_eq!(
        directive(&unit, "EnvironmentFile"),
        ["-/etc/mls-relay/relay.env"]
    );
}

#[test]
fn the_unit_waits_longer_than_the_relay_and_its_postgres_take_to_stop() {
    let unit = read(UNIT);
    let patience: u64 = directive(&unit, "TimeoutStopSec")[0].parse().unwrap();
    let config = mls_relay::config::Config::default();
    let stop = config.process.drain_grace + config.database.private.stop_timeout;
    assert!(patience >= stop.as_secs() + 10);
}

#[test]
fn the_unit_allows_a_descriptor_for_each_connection() {
    let unit = read(UNIT);
    let descriptors: u32 = directive(&unit, "LimitNOFILE")[0].parse().unwrap();
    let connections = mls_relay::config::Config::default()
        .limits
        .connections
        .total;
    assert!(descriptors > connections + 1000);
}

#[test]
fn the_unit_speaks_the_signals_and_exit_codes_of_the_relay() {
    let unit = read(UNIT);
    let main = read("src/main.rs");
    // It is up when the relay says so, however long others bring the schema up to date.
    assert_eq!(directive(&unit, "Type"), ["notify"]);
    assert_eq!(directive(&unit, "TimeoutStartSec"), ["infinity"]);
    assert!(main.contains("tell_supervisor()"));
    // A signal without a handler ends the process.
    let reloads = directive(&unit, "ExecReload");
    let hears = main.contains("SignalKind::hangup");
    let wanted: &[&str] = if hears {
        &["/bin/kill -HUP $MAINPID"]
    } else {
        &[]
    };
    assert_eq!(
        reloads, wanted,
        "the unit reloads exactly if the relay hears SIGHUP"
    );
    let never = directive(&unit, "RestartPreventExitStatus");
    assert!(main.contains(&format!("EX_USAGE: u8 = {};", never[0])));
}

#[test]
fn shell_scripts_parse() {
    for entry in std::fs::read_dir(root().join("deploy")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "sh") {
            let status = Command::new("sh").arg("-n").arg(&path).status().unwrap();
            assert!(status.success(), "{}", path.display());
        }
    }
}

//! What one may ask of the load generator, and what it says to a request that cannot be met.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn loadtest(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_wrong_request_is_refused_at_once_and_the_word_that_is_wrong_is_named() {
    let scenario = include_str!("../scenarios/chat.toml").replace("seconds", "secconds");
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    std::fs::write(file.path(), scenario).unwrap();
    let typo = file.path().to_str().unwrap();
    let remote = ["run", "chat", "--relay", "https://localhost:1"];
    let remote = |more: &[&'static str]| [&remote[..], more].concat();
    let cases: [(Vec<&str>, &str); 13] = [
        (vec!["run", "nothing"], "idle, fanout, chat"),
        (vec!["run", typo], "unknown field `secconds`"),
        (vec!["run", "chat", "--accounts", "0"], "accounts"),
        (vec!["run", "chat", "--conversations", "0"], "conversations"),
        (
            vec!["run", "chat", "--rate", "-1"],
            "rate is -1: it may be 0",
        ),
        (vec!["run", "chat", "--rate", "NaN"], "rate is NaN"),
        (vec!["run", "chat", "--seconds", "0"], "seconds"),
        (vec!["run", "chat", "--json", "/nowhere/a"], "/nowhere/a"),
        (vec!["run", "chat", "--html", "/nowhere/b"], "/nowhere/b"),
        (vec!["run", "chat", "--binary", "/nowhere/c"], "/nowhere/c"),
        (vec!["growth", "--steps", "1000,0"], "conversations"),
        (remote(&["--certificate", "/nowhere/d"]), "--directory"),
        (
            remote(&["--directory", "127.0.0.1:0", "--certificate", "/nowhere/d"]),
            "/nowhere/d",
        ),
    ];
    for (arguments, named) in cases {
        let (code, said) = loadtest(&arguments);
        assert!(code.is_some_and(|code| code > 0), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(said.matches("unknown field").count() <= 1, "{said}");
    }
}

/// A relay that knows one setting.
const RELAY: &str = "echo '# Takes bytes. Environment: OUTBOX_BYTES_MAX. A change'";

#[test]
fn a_setting_that_the_relay_does_not_have_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let relay = executable(directory.path(), "relay", RELAY);
    let scenario = directory.path().join("slow.toml");
    let run = ["run", scenario.to_str().unwrap(), "--binary"];
    for (setting, is_refused) in [("OUTBOX_BYTES_MAX", false), ("OUTBOX_BYTES", true)] {
        let slow = include_str!("../scenarios/slow.toml").replace("OUTBOX_BYTES_MAX", setting);
        std::fs::write(&scenario, slow).unwrap();
        let (_, said) = loadtest(&[&run[..], &[relay.to_str().unwrap()]].concat());
        let refusal = format!("environment.{setting}: the relay has no such setting");
        assert_eq!(said.contains(&refusal), is_refused, "{said}");
    }
}

#[test]
fn a_script_that_is_told_of_a_relay_by_another_name_than_relay_starts_none_of_its_own() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/run.sh");
    for variable in ["CERTIFICATE", "DIRECTORY"] {
        let mut command = Command::new("sh");
        command.args([script, "chat"]).env_remove("RELAY");
        command
            .env("CARGO", "false")
            .env("RELAI", "https://localhost:1");
        let Output { status, stderr, .. } = command.env(variable, "x").output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(!status.success());
        assert!(said.contains("RELAY: must be set"), "{said}");
    }
}

#[test]
fn a_script_builds_a_relay_only_where_it_starts_one() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = executable(directory.path(), "cargo", "echo \"$@\"; exit 1");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/run.sh");
    let built = |settings: &[(&str, &str)]| {
        let mut command = Command::new("sh");
        command.args([script, "chat"]).env_remove("RELAY");
        command.env("CARGO", &cargo).envs(settings.iter().copied());
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let settings = ["RELAY", "CERTIFICATE", "SERVICE_DID", "DIRECTORY"].map(|name| (name, "x"));
    for (said, is_built) in [(built(&[]), true), (built(&settings), false)] {
        assert!(said.contains("--bin loadtest"), "{said}");
        assert_eq!(said.contains("--bin mls-relay"), is_built, "{said}");
    }
}

fn executable(directory: &Path, name: &str, script: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_last_report_that_is_named_counts() {
    let files = ["--json", "/nowhere/a", "--json", "/nowhere/b"];
    let (_, said) = loadtest(&[&["run", "chat"][..], &files].concat());
    assert!(said.contains("/nowhere/b"), "{said}");
    assert!(!said.contains("/nowhere/a"), "{said}");
}

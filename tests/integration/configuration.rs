//! What an operator sees of the configuration: faults, all at once, and what is in force.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::relay::{Home, eventually};

#[test]
fn a_file_that_was_asked_for_must_exist() {
    let output = Home::new()
        .command(&["check-config", "--config", "nowhere.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("nowhere.toml"), "{said}");
}

#[test]
fn check_config_prints_what_is_in_force_without_the_password() {
    let home = Home::new()
        .with("DATABASE_URL", "postgres://relay:hunter2@db.example/relay")
        .with("RATE_LIMIT_SEND_MESSAGE", "7");
    let file = home.path().join("other.toml");
    fs::write(&file, "[log]\nformat = \"json\"\n").unwrap();
    let output = home
        .command(&["--config", "other.toml", "check-config"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).unwrap();
    for (line, origin) in [
        (
            "url = \"host=db.example port=5432 user=relay password=*** dbname=relay\"",
            "environment DATABASE_URL",
        ),
        ("send_message = 7", "environment RATE_LIMIT_SEND_MESSAGE"),
        ("format = \"json\"", "other.toml:2"),
        ("create_convo = 5", "default"),
    ] {
        let found = shown.lines().find(|shown| shown.starts_with(line));
        assert!(
            found.is_some_and(|found| found.ends_with(origin)),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn a_variable_that_is_no_text_is_not_taken_for_one_that_is_not_set() {
    let url = OsStr::from_bytes(b"postgres://relay:hunter\xff@db.example/relay");
    let home = Home::new();
    let mut command = home.command(&["check-config"]);
    let output = command.env("DATABASE_URL", url).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    let fault = "environment DATABASE_URL: database.url: is not UTF-8";
    assert!(said.contains(fault), "{said}");
    assert!(!said.contains("hunter"), "{said}");
}

#[test]
fn a_variable_that_nobody_reads_is_told_when_it_looks_like_a_setting() {
    let home = Home::new()
        .with("DATABASE_ULR", "postgres://relay:hunter2@db.example/relay")
        .with("TLS_CRT", "cert.pem");
    let output = home.command(&["check-config"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    for meant in ["DATABASE_URL", "TLS_CERT"] {
        let question = format!("did you mean {meant}?");
        assert!(said.contains(&question), "{said}");
    }
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_start_says_at_warn_what_it_made_up_and_what_may_not_be_meant() {
    let home = Home::lived_in()
        .with("RUST_LOG", "warn")
        .with("DATABASE_ULR", "postgres://relay@db.example/relay")
        .with("RATE_LIMIT_SEND_MESSAGE", "7");
    let text = "[limits]\nsend_message = 8\n";
    fs::write(home.path().join("relay.toml"), text).unwrap();
    let relay = home.start();
    for expected in [
        "database.url (DATABASE_URL) is not set: a private Postgres",
        "edge.tls_cert (TLS_CERT) is not set: a development certificate",
        "did you mean DATABASE_URL?",
        "the environment (RATE_LIMIT_SEND_MESSAGE) overrides limits.send_message, which stands in \
         relay.toml:2",
    ] {
        relay.says(expected);
    }
}

/// What `check-config --env-file relay.env` makes of this text: its exit code, and all it says.
fn checked(home: &Home, variables: &str) -> (Option<i32>, String) {
    fs::write(home.path().join("relay.env"), variables).unwrap();
    let output = home
        .command(&["check-config", "--env-file", "relay.env"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_file_of_variables_is_checked_as_systemd_would_read_it() {
    let home = Home::new();
    let url = "DATABASE_URL=postgres://relay:p$x@db.example/relay?target_session_attrs=read-write&sslmode=require\n";
    let (code, said) = checked(&home, url);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("sslmode=require"), "{said}");
    for (text, place) in [
        ("# so\nexport A=b\n", "relay.env:2: "),
        (
            "RUST_LOG=loud loud\n",
            "environment RUST_LOG: log.filter: not allowed",
        ),
        ("DATABASE_ULR=x\n", "did you mean DATABASE_URL?"),
    ] {
        let (code, said) = checked(&home, text);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(place), "{said}");
    }
}

#[test]
fn a_check_finds_the_files_that_a_start_would_miss() {
    let home = Home::new();
    fs::write(home.path().join("key.pem"), "").unwrap();
    let files = "TLS_CERT=cert.pem\nTLS_KEY=key.pem\nDATABASE_CA_FILE=ca.pem\n";
    let (code, said) = checked(&home, files);
    assert_eq!(code, Some(69), "{said}");
    for missing in [
        "environment TLS_CERT: edge.tls_cert: cert.pem cannot be opened",
        "environment DATABASE_CA_FILE: database.ca_file: ca.pem cannot be opened",
    ] {
        assert!(said.contains(missing), "{said}");
    }
    assert!(!said.contains("key.pem cannot"), "{said}");
}

#[test]
fn what_ends_a_start_is_in_the_form_of_the_log() {
    let home = Home::new()
        .with("LOG_FORMAT", "json")
        .with("TLS_CERT", "missing.pem");
    let unreadable = home.clone().with("TLS_KEY", "missing-key.pem");
    for said in [home.refusal(64), unreadable.refusal(69)] {
        let lines = said.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<Value> = lines.collect();
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{last}");
        assert!(last.to_string().contains("TLS_KEY") || last.to_string().contains("missing.pem"));
    }
}

#[test]
fn whoever_asks_a_relay_that_is_not_there_is_told_where_it_was_looked_for() {
    let home = Home::new().with("RELAY_ADMIN_LISTEN", "127.0.0.1:1");
    let output = home.command(&["health"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("http://127.0.0.1:1/health/ready"), "{said}");
}

/// An orchestrator would end a relay that serves well, and its next start would be refused.
#[tokio::test]
async fn a_file_that_is_refused_makes_no_relay_unwell() {
    let relay = Home::lived_in().start();
    let file = "[limits]\nip_burst = -3\n";
    fs::write(relay.home().path().join("relay.toml"), file).unwrap();
    let asking = relay
        .home()
        .clone()
        .with("RELAY_ADMIN_LISTEN", &relay.admin.to_string());
    assert!(asking.command(&["health"]).status().unwrap().success());
    assert_eq!(
        asking.command(&["check-config"]).status().unwrap().code(),
        Some(64)
    );
}

#[test]
fn a_database_host_that_nobody_knows_is_named() {
    let url = "postgres://relay@nowhere.invalid/relay";
    let home = Home::new().with("DATABASE_URL", url);
    let output = home.command(&["migrate"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("(at nowhere.invalid:5432)"), "{said}");
}

#[tokio::test]
async fn what_a_variable_overrides_is_told_once_at_the_start_and_once_with_each_reload() {
    let home = Home::lived_in().with("RATE_LIMIT_SEND_MESSAGE", "7");
    let text = "[limits]\nsend_message = 8\n";
    fs::write(home.path().join("relay.toml"), text).unwrap();
    let relay = home.start();
    let told = || relay.log().matches("overrides limits.send_message").count();
    eventually("the file was looked at once more", || async {
        let reloads = "relay_config_reloads_total{outcome=\"unchanged\"}";
        relay.figure(reloads).await == Some(1)
    })
    .await;
    relay.says("overrides limits.send_message");
    assert_eq!(told(), 1, "{}", relay.log());
    relay.signal(Signal::HUP);
    eventually("it is told again", || async { told() == 2 }).await;
}

#[tokio::test]
async fn what_a_variable_overrides_in_a_file_that_changes_during_the_start_is_told_too() {
    let home = Home::lived_in()
        .with("RATE_LIMIT_SEND_MESSAGE", "7")
        .with("RATE_LIMIT_IP_PER_MINUTE", "700");
    let path = home.path().join("relay.toml");
    let text = "[limits]\nsend_message = 8\n";
    fs::write(&path, text).unwrap();
    let relay = home.start();
    fs::write(&path, format!("{text}ip_per_minute = 800\n")).unwrap();
    relay.says("overrides limits.ip_per_minute");
    let told = relay.log().matches("overrides limits.send_message").count();
    assert_eq!(told, 1, "{}", relay.log());
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let output = Home::new().command(&["--colour"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
}

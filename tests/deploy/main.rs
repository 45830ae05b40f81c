//! What `deploy/` and the pages for operators say is true of the code: paths, ports,
//! variables, metrics and alerts agree, and each file passes the judgement of the
//! tool that it is written for, where that tool is installed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod alerts;
mod container;
#[path = "../support/database.rs"]
mod database;
mod documents;
mod going_back;
mod incidents;
mod kubernetes;
mod proxies;
#[path = "../support/relay.rs"]
mod relay;
mod systemd;
mod verify;
mod watching;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use mls_relay::config::{Config, Loaded, Source};
use serde_json::Value;

/// The project's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The only document of a YAML file.
fn yaml_one(path: &str) -> Value {
    let mut documents = yaml(path);
    assert_eq!(documents.len(), 1, "{path} holds one document");
    documents.remove(0)
}

/// What the relay makes of a configuration file with this text.
fn load(text: &str) -> Loaded {
    let source = Source {
        file: Some((PathBuf::from("relay.toml"), text.to_owned())),
        environment: HashMap::new(),
    };
    Config::load(&source).unwrap_or_else(|faults| panic!("{faults}"))
}

/// Whether the relay reads this environment variable.
fn is_ours(variable: &str) -> bool {
    mls_relay::config::keys().any(|key| key.env == variable)
}

/// Runs a tool, or says loudly that it is not here.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    tool_given(name, arguments, "")
}

/// Runs a tool that reads this on its standard input.
fn tool_given(name: &str, arguments: &[&str], input: &str) -> Option<Output> {
    let started = Command::new(name)
        .args(arguments)
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    match started {
        Ok(mut child) => {
            // One that does not read it says why.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            Some(child.wait_with_output().unwrap())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("NOT CHECKED: {name} is not installed");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Runs a tool that must be content.
fn content(name: &str, arguments: &[&str]) {
    if let Some(output) = tool(name, arguments) {
        assert_content(name, &output);
    }
}

/// What Prometheus would say of this. `make test` brings its tool.
fn promtool(arguments: &[&str], input: &str) {
    let brought = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/promtool");
    let name = if brought.exists() {
        brought
    } else {
        "promtool".into()
    };
    let output = tool_given(name.to_str().unwrap(), arguments, input);
    assert_content("promtool", &output.expect("`make test` brings promtool"));
}

fn assert_content(name: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{name}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The text at a JSON pointer.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer}"))
}

/// The whole number at a JSON pointer.
fn number(value: &Value, pointer: &str) -> u64 {
    value
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("no number at {pointer}"))
}

/// The items of the list at a JSON pointer.
fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .unwrap_or_else(|| panic!("no list at {pointer}"))
}

//! Prometheus and Grafana: every metric exists, every alert can be acted upon.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use mls_relay::telemetry::Metrics;
use serde_json::Value;

use crate::{list, promtool, read, root, text, yaml_one};

/// This process's, of which there can be one.
static METRICS: LazyLock<Metrics> = LazyLock::new(|| Metrics::install().unwrap());

/// The metrics that the code records, and of which kind they are.
fn recorded() -> BTreeMap<String, &'static str> {
    let mut found = BTreeMap::new();
    for path in rust_files(&root().join("src")) {
        let source = std::fs::read_to_string(path).unwrap();
        // The name follows the macro, sometimes on the next line.
        for kind in ["counter", "gauge", "histogram"] {
            for rest in source.split(&format!("{kind}!(")).skip(1) {
                if let Some(name) = rest.trim_start().strip_prefix('"') {
                    found.insert(name.split('"').next().unwrap().to_owned(), kind);
                }
            }
        }
    }
    assert!(found.len() > 30, "{found:?}");
    found
}

fn rust_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(rust_files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// The relay's metrics that an expression names, as the code names them.
fn named(expression: &str) -> BTreeSet<String> {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("relay_"))
        .map(|word| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word)
                .to_owned()
        })
        .collect()
}

pub(crate) fn alerts() -> Vec<Value> {
    let file = yaml_one("deploy/alerts.yml");
    let groups = list(&file, "/groups");
    groups
        .iter()
        .flat_map(|group| list(group, "/rules").to_vec())
        .collect()
}

/// The expressions of a dashboard, with the panels they stand in.
fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    list(dashboard, "/panels")
        .iter()
        .filter(|panel| text(panel, "/type") != "row")
        .flat_map(|panel| {
            let title = text(panel, "/title").to_owned();
            let targets = list(panel, "/targets").to_vec();
            targets
                .into_iter()
                .map(move |t| (title.clone(), text(&t, "/expr").to_owned()))
        })
        .collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboards/relay.json")).unwrap()
}

#[test]
fn alerts_and_panels_ask_for_metrics_that_the_relay_records() {
    let recorded = recorded();
    let panels = expressions(&dashboard());
    assert!(panels.len() > 30);
    let rules = alerts().into_iter().map(|rule| {
        (
            text(&rule, "/alert").to_owned(),
            text(&rule, "/expr").to_owned(),
        )
    });
    for (place, expression) in panels.into_iter().chain(rules) {
        for metric in named(&expression) {
            assert!(
                recorded.contains_key(&metric),
                "{place}: nothing records {metric}"
            );
        }
    }
}

/// What an alert fires on at its first increase must be seen at zero before.
#[test]
fn rare_faults_are_counted_from_zero() {
    let metrics = read("src/telemetry/metrics.rs");
    let (_, from_zero) = metrics.split_once("fn begin_at_zero").unwrap();
    let mut watched = 0;
    for rule in alerts() {
        let expression = text(&rule, "/expr").to_owned();
        if expression.starts_with("increase(") && expression.ends_with(") > 0") {
            for metric in named(&expression) {
                assert!(from_zero.contains(&format!("\"{metric}\"")), "{metric}");
                watched += 1;
            }
        }
    }
    assert!(watched > 3, "{watched}");
}

/// A part of nothing is no number, and no alert.
#[test]
fn that_no_handshake_was_completed_is_seen_where_all_fail() {
    let shown = METRICS.render();
    let none = "\nrelay_edge_handshake_seconds_count{kind=\"full\"} 0\n";
    assert!(shown.contains(none), "{shown}");
}

#[test]
fn every_metric_is_explained_to_operators_and_no_other() {
    let page = read("docs/metrics.md");
    let explained: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap()))
        .collect();
    assert_eq!(explained, recorded());
}

#[test]
fn every_metric_tells_its_meaning_and_prometheus_likes_its_name() {
    LazyLock::force(&METRICS);
    for (name, kind) in recorded() {
        match kind {
            "counter" => metrics::counter!(name).increment(1),
            "gauge" => metrics::gauge!(name).set(1),
            _ => metrics::histogram!(name).record(1),
        }
    }
    let shown = METRICS.render();
    for name in recorded().keys() {
        let help = shown.split_once(&format!("# HELP {name} "));
        let (_, help) = help.unwrap_or_else(|| panic!("{name} does not say what it means"));
        let help = help.lines().next().unwrap();
        assert!(help.ends_with('.') && !help.contains(['`', '|']), "{help}");
    }
    promtool(&["check", "metrics"], &shown);
}

#[test]
fn every_alert_has_a_first_move_and_every_first_move_an_alert() {
    let operations = read("docs/operations.md");
    let (_, section) = operations.split_once("\n## Alerts\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let moves: BTreeSet<_> = section
        .lines()
        .filter_map(|l| l.strip_prefix("### "))
        .collect();
    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|rule| text(rule, "/alert")).collect();
    assert_eq!(names, moves);
    for rule in &alerts {
        let name = text(rule, "/alert");
        let link = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(text(rule, "/annotations/runbook"), link);
        assert!(!text(rule, "/annotations/summary").is_empty());
        assert!(
            ["page", "ticket"].contains(&text(rule, "/labels/severity")),
            "{name}"
        );
    }
}

#[test]
fn panels_do_not_overlap_and_each_reads_the_provisioned_source() {
    let dashboard = dashboard();
    let source = yaml_one("deploy/grafana/provisioning/datasources/prometheus.yml");
    let uid = text(&source, "/datasources/0/uid");
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard, "/panels") {
        let place = |name: &str| crate::number(panel, &format!("/gridPos/{name}"));
        assert!(place("x") + place("w") <= 24);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} overlaps", text(panel, "/title"));
            }
        }
        if text(panel, "/type") != "row" {
            assert_eq!(text(panel, "/datasource/uid"), uid);
        }
    }
    // The folder that the provider reads is the one that compose mounts.
    let provider = yaml_one("deploy/grafana/provisioning/dashboards/relay.yml");
    let path = text(&provider, "/providers/0/options/path");
    assert!(read("deploy/docker-compose.yml").contains(&format!("./grafana/dashboards:{path}:ro")));
}

#[test]
fn prometheus_reads_its_configuration_and_its_rules() {
    let rules = yaml_one("deploy/prometheus.yml")["rule_files"].clone();
    assert_eq!(rules, serde_json::json!(["alerts.yml"]));
    promtool(&["check", "config", "deploy/prometheus.yml"], "");
}

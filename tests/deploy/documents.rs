//! The files that follow from the table of keys or from another file.
//! `BLESS=1 cargo test --test deploy` writes them anew.

use std::collections::HashSet;

use mls_relay::config::{env_template, keys, settings_markdown};
use mls_relay::limits::Rule;

use crate::{is_ours, read, root};

const BEGIN: &str = "<!-- settings: written by `BLESS=1 cargo test --test deploy` -->\n";
const END: &str = "<!-- end of settings -->\n";

/// Whether this run writes files instead of judging them.
fn blesses() -> bool {
    std::env::var_os("BLESS").is_some()
}

fn agree(path: &str, is: &str, should: &str) {
    if blesses() {
        std::fs::write(root().join(path), should).unwrap();
    } else {
        let hint = "run `BLESS=1 cargo test --test deploy`";
        assert!(is == should, "{path} is not what it is made from: {hint}");
    }
}

#[test]
fn the_env_example_explains_every_variable_as_the_code_has_it() {
    let path = "deploy/.env.example";
    let should = format!("{ENV_HEAD}\n{}", env_template());
    let is = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    agree(path, &is, &should);
    for key in keys() {
        assert!(should.contains(&format!("\n#{}=", key.env)), "{key:?}");
    }
}

#[test]
fn the_operators_table_of_settings_is_the_codes() {
    let path = "docs/settings.md";
    let is = read(path);
    let (before, rest) = is.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let should = format!("{before}{BEGIN}\n{}\n{END}{after}", settings_markdown());
    agree(path, &is, &should);
}

#[test]
fn the_operator_of_prometheus_gets_the_same_alerts() {
    let path = "deploy/kubernetes/optional/prometheusrule.yaml";
    let alerts = read("deploy/alerts.yml");
    let (_, groups) = alerts.split_once("\ngroups:\n").unwrap();
    let mut should = format!("{RULE_HEAD}  groups:\n");
    for line in groups.lines() {
        let indent = if line.is_empty() { "" } else { "  " };
        should.extend([indent, line, "\n"]);
    }
    let is = std::fs::read_to_string(root().join(path)).unwrap_or_default();
    agree(path, &is, &should);
}

const RULE_HEAD: &str = "\
# For the Prometheus operator, which must select this namespace: the alerts of
# deploy/alerts.yml, written by `BLESS=1 cargo test --test deploy`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: mls-relay
  namespace: mls-relay
  labels: {app.kubernetes.io/name: mls-relay}
spec:
";

#[test]
fn links_of_the_pages_lead_somewhere() {
    let pages = std::fs::read_dir(root().join("docs")).unwrap();
    let pages = pages.map(|page| page.unwrap().path());
    let others = [
        "README.md",
        "deploy/cloud-balancers.md",
        "fuzz/README.md",
        "loadtest/README.md",
    ];
    let mut links = 0;
    for page in pages.chain(others.map(|page| root().join(page))) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().unwrap();
            if target.starts_with("https://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let leads = match anchor {
                "" => file.exists(),
                anchor => anchors(&std::fs::read_to_string(&file).unwrap()).contains(anchor),
            };
            assert!(leads, "{}: {target}", page.display());
        }
    }
    assert!(links > 100);
}

/// What the headings of a page are called in links.
fn anchors(page: &str) -> HashSet<String> {
    let kept = |c: &char| c.is_alphanumeric() || [' ', '-', '_'].contains(c);
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let named = headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let title: String = title.chars().filter(kept).collect();
        title.replace(' ', "-")
    });
    named.collect()
}

#[test]
fn every_variable_that_prose_names_is_one_that_the_relay_reads() {
    let mut named = 0;
    for path in [
        "README.md",
        "deploy/cloud-balancers.md",
        "docs/clients.md",
        "docs/deployment.md",
        "docs/metrics.md",
        "docs/operations.md",
        "docs/privacy.md",
        "docs/rate-limiting.md",
    ] {
        // Between backticks, and at the start of a line of a shell block.
        let page = read(path);
        let spans = page.split('`').skip(1).step_by(2);
        for word in spans.chain(page.lines()) {
            let name = word.split('=').next().unwrap();
            let looks_like_one =
                name.contains('_') && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if looks_like_one {
                named += 1;
                assert!(is_ours(name), "{path}: nothing reads {name}");
            }
        }
    }
    assert!(named > 30);
}

#[test]
fn every_limit_is_listed_by_the_name_that_a_dry_run_takes() {
    let page = read("docs/rate-limiting.md");
    for rule in Rule::ALL {
        let cell = format!(" | `{}` |", rule.name());
        assert!(page.contains(&cell), "docs/rate-limiting.md lacks{cell}");
    }
}

const ENV_HEAD: &str = "\
# Every setting of mls-relay as an environment variable, each with its default. Copy this
# file to relay.env, uncomment and change what you need. Docker Compose and systemd read
# it alike: no quotes, no spaces around `=`, lists with commas. A variable overrides
# relay.toml; an empty one counts as not set. On the internet, set at least SERVICE_DID,
# TLS_CERT, TLS_KEY and DATABASE_URL. `mls-relay check-config` shows what is in force.
";

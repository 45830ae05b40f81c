//! What a scanner of TLS servers says of the relay: testssl.sh, every check it has that judges.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::authority::Authority;
use crate::relay::Home;

/// What the scanner could not look at, each with the reason. Its own OpenSSL is not ours.
const UNSEEN: &[&str] = &[
    // It looks for GOST.
    "engine_problem",
    // It asks OpenSSL for versions that Debian's lacks; certificates.rs looks.
    "sessionresumption_ticket",
];

/// Protocols, classes of ciphers, forward secrecy, preferences, defaults, headers, vulnerabilities.
/// Which ciphers there are, one by one, and what it takes browsers to get, it tells and never
/// judges, and that is half of its work.
const JUDGED: [&str; 7] = ["-p", "-s", "-f", "-P", "-S", "-h", "-U"];

#[test]
fn a_scanner_finds_nothing_above_low() {
    let authority = Authority::new();
    let home = Home::lived_in();
    let path = |name: &str| home.path().join(name);
    let (chain, key) = authority.issue(&["localhost"]);
    for (name, text) in [
        ("ca.pem", &authority.pem()),
        ("cert.pem", &chain),
        ("key.pem", &key),
    ] {
        fs::write(path(name), text).unwrap();
    }
    // It connects some hundred times, all from one address.
    let limits = [
        "CONNECTIONS_PER_IP",
        "CONNECTIONS_PER_IP_PER_SECOND",
        "RATE_LIMIT_IP_PER_MINUTE",
    ];
    let relay = home
        .clone()
        .with("TLS_CERT", "cert.pem")
        .with("TLS_KEY", "key.pem")
        .with_all(limits.map(|limit| (limit, "10000")))
        .start();
    let scan = Command::new("testssl")
        .args(["--quiet", "--color", "0", "--warnings", "off", "--add-ca"])
        .arg(path("ca.pem"))
        .args(["--ip", "127.0.0.1", "--jsonfile"])
        .arg(path("scan.json"))
        .args(JUDGED)
        .arg(format!("localhost:{}", relay.public.port()))
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("testssl: {error}; `make test` installs testssl.sh"));
    let said = String::from_utf8_lossy(&scan.stdout);
    let found = fs::read_to_string(path("scan.json")).unwrap_or_else(|_| panic!("{said}"));
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let alarming: Vec<_> = found
        .iter()
        .filter(|finding| {
            let (id, severity) = (&finding["id"], finding["severity"].as_str().unwrap());
            let is_unseen = UNSEEN.iter().any(|unseen| id == unseen);
            !is_unseen && !["OK", "INFO", "LOW"].contains(&severity)
        })
        .collect();
    assert!(alarming.is_empty(), "{alarming:#?}\n{said}");
    // That it has looked at all.
    for (id, expected) in [
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered"),
        ("cipher_order", "server"),
        ("HSTS_time", "730 days"),
        ("ROBOT", "not vulnerable"),
    ] {
        let finding = found.iter().find(|finding| finding["id"] == id);
        let finding = finding.unwrap_or_else(|| panic!("no {id}\n{said}"))["finding"].to_string();
        assert!(finding.contains(expected), "{id}: {finding}");
    }
}

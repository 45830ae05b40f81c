//! The examples of proxies agree with the relay.

use std::time::Duration;

use crate::{load, read};

/// A proxy that keeps a connection for longer sends requests on one that is closing.
#[test]
fn no_proxy_keeps_an_unused_connection_for_as_long_as_the_relay() {
    let kept_here = load("").config.edge.idle_timeout;
    for (path, setting) in [
        ("deploy/Caddyfile", "keepalive "),
        ("deploy/nginx.conf", "keepalive_timeout "),
    ] {
        let example = read(path);
        let mut lines = example.lines();
        let value = lines.find_map(|line| line.trim().strip_prefix(setting));
        let value = value.unwrap_or_else(|| panic!("{path} leaves it to the default"));
        let seconds = value.trim_end_matches(';').trim_end_matches('s').parse();
        let kept_there = Duration::from_secs(seconds.unwrap());
        assert!(kept_there + MARGIN <= kept_here, "{path}");
    }
}

/// Over the way of a request.
const MARGIN: Duration = Duration::from_secs(5);

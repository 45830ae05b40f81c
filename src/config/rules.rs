//! Pure. The relations between keys, each with its reason.

use super::Config;

/// The keys that a relation is between, of which the first is to change, and why.
type Broken = (&'static [&'static str], String);

/// Every broken relation.
pub(super) fn broken(config: &Config) -> Vec<Broken> {
    let mut broken: Vec<Broken> = Vec::new();
    let edge = &config.edge;
    match (&edge.tls_cert, &edge.tls_key) {
        (Some(_), None) => broken.push((
            &["edge.tls_cert", "edge.tls_key"],
            "needs edge.tls_key (TLS_KEY) beside it".to_owned(),
        )),
        (None, Some(_)) => broken.push((
            &["edge.tls_key", "edge.tls_cert"],
            "needs edge.tls_cert (TLS_CERT) beside it".to_owned(),
        )),
        _ => {}
    }
    if config.acme.domains.len() > ACME_DOMAINS_MAX {
        let why = format!("names more than {ACME_DOMAINS_MAX}, the most that one certificate may");
        broken.push((&["acme.domains"], why));
    }
    // Port 0 means "any", so two of those never meet.
    if edge.listen == edge.admin_listen && edge.listen.port() != 0 {
        broken.push((
            &["edge.admin_listen", "edge.listen"],
            "is the same as edge.listen; health and metrics need a port of their own".to_owned(),
        ));
    }
    let needs_proxies: [(bool, &'static [&'static str]); 2] = [
        (
            edge.proxy_protocol,
            &["edge.proxy_protocol", "edge.trusted_proxies"],
        ),
        (
            edge.plain_listen.is_some(),
            &["edge.plain_listen", "edge.trusted_proxies"],
        ),
    ];
    for (_, keys) in needs_proxies.into_iter().filter(|(is_set, _)| *is_set) {
        if edge.trusted_proxies.is_empty() {
            let why = "needs edge.trusted_proxies (TRUSTED_PROXIES): nobody else may connect there";
            broken.push((keys, why.to_owned()));
        }
    }
    let bodies: [(usize, &'static [&'static str; 2]); 2] = [
        (
            config.xrpc.message_body_bytes_max,
            &[
                "limits.body_bytes_per_minute",
                "calls.message_body_bytes_max",
            ],
        ),
        (
            config.xrpc.body_bytes_max,
            &["limits.body_bytes_per_minute", "calls.body_bytes_max"],
        ),
    ];
    for (largest, keys) in bodies {
        let [_, bound] = keys;
        if largest as u64 > u64::from(config.limits.calls.body_bytes) {
            let why = format!("is less than {bound}; the largest body would never fit");
            broken.push((keys, why));
        }
    }
    if config.session.drain_window > config.process.drain_grace {
        broken.push((
            &["session.drain_window_seconds", "process.drain_seconds"],
            "is longer than process.drain_seconds; the last sockets would be cut off".to_owned(),
        ));
    }
    if config.store.held_up_after >= config.store.statement_timeout {
        broken.push((
            &["database.held_up_ms", "database.statement_timeout_ms"],
            "is not shorter than database.statement_timeout_ms, after which nobody waits"
                .to_owned(),
        ));
    }
    if config.session.ping_after >= config.session.silence_max {
        broken.push((
            &["session.silence_seconds", "session.ping_seconds"],
            "is not longer than session.ping_seconds; nobody would have time to answer".to_owned(),
        ));
    }
    broken
}

/// Let's Encrypt's, and nearly everyone's.
const ACME_DOMAINS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_break_no_rule() {
        assert!(broken(&Config::default()).is_empty());
    }

    #[test]
    fn nobody_can_hold_up_others_for_longer_than_they_wait() {
        let mut config = Config::default();
        config.store.held_up_after = config.store.statement_timeout;
        let (keys, why) = broken(&config).remove(0);
        assert_eq!(
            keys,
            ["database.held_up_ms", "database.statement_timeout_ms"]
        );
        assert!(why.contains("is not shorter"), "{why}");
    }

    #[test]
    fn the_largest_body_fits_into_the_bytes_of_a_minute() {
        let mut config = Config::default();
        config.limits.calls.body_bytes = 14 << 20;
        assert!(broken(&config).is_empty());
        config.xrpc.body_bytes_max = (14 << 20) + 1;
        let (keys, why) = broken(&config).remove(0);
        assert_eq!(keys[0], "limits.body_bytes_per_minute");
        assert!(why.contains("calls.body_bytes_max"), "{why}");
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let mut config = Config::default();
        config.edge.tls_cert = Some("cert.pem".into());
        assert_eq!(broken(&config).first().unwrap().0[0], "edge.tls_cert");
    }
}

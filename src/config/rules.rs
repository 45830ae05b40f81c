//! Pure. The relations between keys, each with its reason.

use super::Config;

/// The keys that a relation is between, of which the first is to change, and why.
type Broken = (&'static [&'static str], String);

/// Every broken relation.
pub(super) fn broken(config: &Config) -> Vec<Broken> {
    let (edge, session, store, xrpc) = (&config.edge, &config.session, &config.store, &config.xrpc);
    let body_bytes = u64::from(config.limits.calls.body_bytes);
    let names_too_many =
        format!("names more than {ACME_DOMAINS_MAX}, the most that one certificate may");
    let needs_proxies =
        "needs edge.trusted_proxies (TRUSTED_PROXIES): nobody else may connect there";
    let relations: [(bool, &'static [&'static str], &str); 12] = [
        (
            edge.tls_cert.is_some() && edge.tls_key.is_none(),
            &["edge.tls_cert", "edge.tls_key"],
            "needs edge.tls_key (TLS_KEY) beside it",
        ),
        (
            edge.tls_key.is_some() && edge.tls_cert.is_none(),
            &["edge.tls_key", "edge.tls_cert"],
            "needs edge.tls_cert (TLS_CERT) beside it",
        ),
        (
            config.acme.domains.len() > ACME_DOMAINS_MAX,
            &["acme.domains"],
            &names_too_many,
        ),
        (
            // Port 0 means "any", so two of those never meet.
            edge.listen == edge.admin_listen && edge.listen.port() != 0,
            &["edge.admin_listen", "edge.listen"],
            "is the same as edge.listen; health and metrics need a port of their own",
        ),
        (
            edge.proxy_protocol && edge.trusted_proxies.is_empty(),
            &["edge.proxy_protocol", "edge.trusted_proxies"],
            needs_proxies,
        ),
        (
            edge.plain_listen.is_some() && edge.trusted_proxies.is_empty(),
            &["edge.plain_listen", "edge.trusted_proxies"],
            needs_proxies,
        ),
        (
            xrpc.message_body_bytes_max as u64 > body_bytes,
            &[
                "limits.body_bytes_per_minute",
                "calls.message_body_bytes_max",
            ],
            "is less than calls.message_body_bytes_max; the largest body would never fit",
        ),
        (
            xrpc.body_bytes_max as u64 > body_bytes,
            &["limits.body_bytes_per_minute", "calls.body_bytes_max"],
            "is less than calls.body_bytes_max; the largest body would never fit",
        ),
        (
            xrpc.message_body_bytes_max.max(xrpc.body_bytes_max) > xrpc.bodies_bytes_max,
            &[
                "calls.bodies_bytes_max",
                "calls.message_body_bytes_max",
                "calls.body_bytes_max",
            ],
            "is less than calls.message_body_bytes_max or calls.body_bytes_max; the largest body \
             would never fit",
        ),
        (
            session.drain_window > config.process.drain_grace,
            &["session.drain_window_seconds", "process.drain_seconds"],
            "is longer than process.drain_seconds; the last sockets would be cut off",
        ),
        (
            store.held_up_after >= store.statement_timeout,
            &["database.held_up_ms", "database.statement_timeout_ms"],
            "is not shorter than database.statement_timeout_ms, after which nobody waits",
        ),
        (
            session.ping_after >= session.silence_max,
            &["session.silence_seconds", "session.ping_seconds"],
            "is not longer than session.ping_seconds; nobody would have time to answer",
        ),
    ];
    let broken = relations.into_iter().filter(|(is_broken, ..)| *is_broken);
    broken
        .map(|(_, keys, why)| (keys, why.to_owned()))
        .collect()
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
    fn the_largest_body_fits_into_the_memory_for_bodies() {
        let mut config = Config::default();
        config.xrpc.bodies_bytes_max = 14 << 20;
        assert!(broken(&config).is_empty());
        config.xrpc.body_bytes_max = (14 << 20) + 1;
        let (keys, why) = broken(&config).remove(0);
        assert_eq!(keys[0], "calls.bodies_bytes_max");
        assert!(why.contains("would never fit"), "{why}");
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let mut config = Config::default();
        config.edge.tls_cert = Some("cert.pem".into());
        assert_eq!(broken(&config).first().unwrap().0[0], "edge.tls_cert");
    }
}

//! Where Postgres is, and how much of it is believed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseUrl, Settings, StoreError};

/// Where a client looks for Postgres, in turn.
pub(super) fn hosts(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(nth, host)| {
        // One port is that of all.
        let port = ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(path) => path.display().to_string(),
        }
    });
    hosts.collect::<Vec<_>>().join(", ")
}

/// For a server that takes connections and says nothing: connecting has a limit for each
/// host, what follows has none.
pub(super) fn open_timeout(config: &Config, settings: &Settings) -> Duration {
    let hosts = u32::try_from(config.get_hosts().len()).unwrap_or(u32::MAX);
    let connect = config.get_connect_timeout().unwrap_or(&CONNECT_TIMEOUT);
    connect.saturating_mul(hosts) + settings.statement_timeout
}

pub(super) fn client_config(url: &DatabaseUrl) -> Result<Config, StoreError> {
    let mut config: Config = url.expose().parse().map_err(|_| StoreError::Shape)?;
    if config.get_application_name().is_none() {
        config.application_name("mls-relay");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    config
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(3)
        .tcp_user_timeout(TCP_USER_TIMEOUT);
    // "prefer" would fail on the self-signed certificate of a local Postgres
    // instead of going on without; nobody listens on this machine's loopback.
    if !url.expose().contains("sslmode") && config.get_hosts().iter().all(is_local) {
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|a| a.is_loopback())
        }
    }
}

pub(super) fn tls(settings: &Settings) -> Result<MakeRustlsConnect, StoreError> {
    let mut roots = RootCertStore::empty();
    match &settings.ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let unusable = |why: &dyn fmt::Display| {
                StoreError::Authorities(format!("{}: {why}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
                let certificate = certificate.map_err(|error| unusable(&error))?;
                roots.add(certificate).map_err(|error| unusable(&error))?;
            }
            if roots.is_empty() {
                return Err(unusable(&"there is no certificate in it"));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| StoreError::Unavailable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A dead network is noticed within half a minute, also on a silent connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

//! Where Postgres is, and how much of it is believed.

use std::error::Error;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::{DatabaseUrl, Settings, StoreError};
use crate::outbound::{public_authorities, tls_config};

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
    // Whoever knows the network says so in the address.
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_TIMEOUT);
    }
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    // "prefer" would fail on the self-signed certificate of a local Postgres
    // instead of going on without; nobody listens on this machine's loopback.
    if !url.expose().contains("sslmode") && is_local(&config) {
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

/// Where there are addresses, they are dialled, whatever the names are.
fn is_local(config: &Config) -> bool {
    let is_near = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
    };
    config.get_hosts().iter().all(is_near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Who is believed to be Postgres. Reads a file, which may lie on a disk that does not answer: so
/// only at a start.
pub(super) fn tls(settings: &Settings) -> Result<ClientConfig, StoreError> {
    let roots = match &settings.ca_file {
        None => public_authorities(),
        Some(path) => authorities(path)
            .map_err(|why| StoreError::Authorities(format!("{}: {why}", path.display())))?,
    };
    tls_config(roots).map_err(|_| StoreError::Unavailable)
}

/// Those in a file, of which there is at least one.
fn authorities(path: &Path) -> Result<RootCertStore, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    for certificate in rustls_pemfile::certs(&mut std::fs::read(path)?.as_slice()) {
        roots.add(certificate?)?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it".into()),
        false => Ok(roots),
    }
}

/// For each host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A dead network is noticed within half a minute, also on a silent connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_address_says_of_its_network_counts() {
        let config = |url: &str| client_config(&DatabaseUrl::parse(url).unwrap()).unwrap();
        let times = |config: &Config| {
            let times = [
                config.get_connect_timeout().copied(),
                Some(config.get_keepalives_idle()),
                config.get_keepalives_interval(),
                config.get_tcp_user_timeout().copied(),
            ];
            (
                times.map(|time| time.unwrap().as_secs()),
                config.get_keepalives_retries(),
            )
        };
        let silent = config("postgres://relay@db/relay");
        assert_eq!(times(&silent), ([3, 10, 5, 15], Some(3)));
        let far = config(
            "postgres://relay@db/relay?connect_timeout=20&keepalives_idle=60\
             &keepalives_interval=30&tcp_user_timeout=90&keepalives_retries=9",
        );
        assert_eq!(times(&far), ([20, 60, 30, 90], Some(9)));
    }

    #[test]
    fn tls_is_left_out_on_this_machine_alone() {
        for (url, mode) in [
            ("host=/run/postgresql", SslMode::Disable),
            ("host=localhost", SslMode::Disable),
            ("host=127.0.0.1,::1", SslMode::Disable),
            ("hostaddr=127.0.0.1", SslMode::Disable),
            ("host=localhost sslmode=require", SslMode::Require),
            ("host=localhost,db", SslMode::Prefer),
            ("hostaddr=192.0.2.5", SslMode::Prefer),
            ("host=localhost hostaddr=192.0.2.5", SslMode::Prefer),
        ] {
            let config = client_config(&DatabaseUrl::parse(url).unwrap()).unwrap();
            assert_eq!(config.get_ssl_mode(), mode, "{url}");
        }
    }
}

//! TLS as this edge speaks it.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};

use super::certs::Certificates;

/// The two protocols, most wanted first.
pub(super) const ALPN_H2: &[u8] = b"h2";
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";

pub(super) fn server_config(certificates: &Certificates) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates.resolver());
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    // Resumption lives with the client, in tickets under keys that rotate by
    // themselves: a phone that returns saves a round trip and we keep no state.
    config.ticketer = Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One ticket is one reconnect; the next connection brings the next ticket.
    config.send_tls13_tickets = 1;
    // No early data: a replayed send would be a send.
    config.max_early_data_size = 0;
    Ok(config)
}

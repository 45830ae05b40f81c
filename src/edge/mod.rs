//! Strangers arrive here: accept, TLS, HTTP, and the way to whoever answers.
//!
//! ```text
//! accept ─> (PROXY header) ─> tls (handshake, ALPN) ─> http (1.1 or 2, deadlines) ─> route ─┬─> health, DID document
//!                                                                         ├─> xrpc::Calls
//!                                                                         └─> session::Sessions
//! ```
//!
//! Every connection is one task in the shutdown's tracker. It ends by itself at an
//! upgrade, when the peer leaves, when a deadline passes, or when the drain is over.

mod accept;
mod accounts;
mod activity;
mod admin;
mod certs;
mod client_address;
mod connection;
mod dev_cert;
mod did_document;
mod error;
mod gate;
mod health;
mod http;
mod listeners;
mod penalties;
mod proxy_header;
mod route;
mod server;
mod settings;
mod tls;

pub use admin::Admin;
pub use certs::Certificates;
pub use client_address::AddressHeader;
pub use dev_cert::{DevCertificate, ensure as ensure_dev_certificate};
pub use did_document::DidDocument;
pub use error::{CertError, EdgeError};
pub use gate::Gate;
pub use health::{Health, Probe};
pub use route::Routes;
pub use settings::Settings;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::limits::Limits;
use crate::runtime::Shutdown;
use listeners::Entrance;
use server::Server;

/// The public listeners, bound but not yet accepting: the kernel queues whoever comes
/// early, and a taken port is known before anything else starts.
#[derive(Debug)]
pub struct Edge {
    listener: TcpListener,
    /// For proxies that end TLS themselves.
    plain: Option<TcpListener>,
    settings: Arc<Settings>,
}

impl Edge {
    pub fn bind(settings: Settings) -> Result<Self, EdgeError> {
        Ok(Self {
            listener: accept::bind(settings.listen)?,
            plain: settings.plain_listen.map(accept::bind).transpose()?,
            settings: Arc::new(settings),
        })
    }

    /// Where it is bound, which tells the port when the setting left it open.
    pub fn address(&self) -> Result<SocketAddr, EdgeError> {
        self.listener.local_addr().map_err(EdgeError::Listener)
    }

    /// Where proxies that end TLS reach it, if anywhere.
    pub fn plain_address(&self) -> Option<SocketAddr> {
        self.plain.as_ref()?.local_addr().ok()
    }

    /// Starts to accept. Returns at once; connections end with `shutdown`.
    pub fn serve(
        self,
        certificates: &Certificates,
        limits: Limits,
        routes: Routes,
        shutdown: &Shutdown,
    ) -> Result<(), EdgeError> {
        let config = tls::server_config(certificates)?;
        let server = Arc::new(Server::new(
            Arc::clone(&self.settings),
            TlsAcceptor::from(Arc::new(config)),
            limits,
            routes,
            shutdown.clone(),
        ));
        let entrance = Entrance::tls(&self.settings);
        let server_of_plain = Arc::clone(&server);
        shutdown.spawn(accept::run(
            self.listener,
            server,
            entrance,
            shutdown.clone(),
        ));
        if let Some(plain) = self.plain {
            let entrance = Entrance::plain(&self.settings);
            shutdown.spawn(accept::run(
                plain,
                server_of_plain,
                entrance,
                shutdown.clone(),
            ));
        }
        Ok(())
    }
}

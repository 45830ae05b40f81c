//! Strangers arrive here: accept, TLS, HTTP, and the way to whoever answers.
//!
//! ```text
//! accept ─> tls (handshake, ALPN) ─> http (1.1 or 2, deadlines) ─> route ─┬─> health, DID document
//!                                                                         ├─> xrpc::Calls
//!                                                                         └─> session::Sessions
//! ```
//!
//! Every connection is one task in the shutdown's tracker. It ends by itself at an
//! upgrade, when the peer leaves, when a deadline passes, or when the drain is over.

mod accept;
mod activity;
mod admin;
mod certs;
mod client_ip;
mod connection;
mod dev_cert;
mod did_document;
mod error;
mod gate;
mod health;
mod http;
mod route;
mod server;
mod settings;
mod tls;

pub use admin::Admin;
pub use certs::Certificates;
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
use server::Server;

/// The public listener, bound but not yet accepting: the kernel queues whoever comes
/// early, and a taken port is known before anything else starts.
#[derive(Debug)]
pub struct Edge {
    listener: TcpListener,
    settings: Arc<Settings>,
}

impl Edge {
    pub fn bind(settings: Settings) -> Result<Self, EdgeError> {
        Ok(Self {
            listener: accept::bind(settings.listen)?,
            settings: Arc::new(settings),
        })
    }

    /// Where it is bound, which tells the port when the setting left it open.
    pub fn address(&self) -> Result<SocketAddr, EdgeError> {
        self.listener.local_addr().map_err(EdgeError::Listener)
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
        shutdown.spawn(accept::run(self.listener, server, shutdown.clone()));
        Ok(())
    }
}

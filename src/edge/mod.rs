//! Strangers arrive here: accept, TLS, HTTP, and the way to what answers.
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
mod arrival;
mod attend;
mod client_address;
mod connection;
mod cors;
mod did_document;
mod error;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gate;
mod health;
mod host;
mod http;
mod http2_frames;
mod listeners;
mod penalties;
mod proxy_header;
mod route;
mod server;
mod settings;
mod tcp;
mod unread;
mod unreadable;
mod watched;

pub use admin::Admin;
pub use client_address::AddressHeader;
pub use did_document::DidDocument;
pub use error::EdgeError;
pub use gate::Gate;
pub use health::{Finding, Health, Probe};
pub use route::Routes;
pub use settings::Settings;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::limits::Limits;
use crate::runtime::{Live, Shutdown};
use crate::tls::Tls;
use listeners::Security;
use server::Server;

/// The public listeners, bound but not yet accepting: the kernel queues whoever comes
/// early, and a taken port is known before anything else starts.
#[derive(Debug)]
pub struct Edge {
    listener: TcpListener,
    /// For proxies that end TLS themselves.
    plain: Option<TcpListener>,
    settings: Live<Settings>,
}

impl Edge {
    pub fn bind(settings: Live<Settings>) -> Result<Self, EdgeError> {
        let now = settings.snapshot();
        let plain = |address| accept::bind(address, "edge.plain_listen (RELAY_PLAIN_LISTEN)");
        Ok(Self {
            listener: accept::bind(now.listen, "edge.listen (RELAY_LISTEN)")?,
            plain: now.plain_listen.map(plain).transpose()?,
            settings,
        })
    }

    /// Where it is bound, which tells the port when the setting left it open.
    pub fn address(&self) -> Result<SocketAddr, EdgeError> {
        self.listener.local_addr().map_err(EdgeError::Listener)
    }

    /// Starts to accept. Returns at once; connections end with `shutdown`.
    pub fn serve(self, tls: Tls, limits: Limits, routes: Routes, shutdown: &Shutdown) {
        let server = Arc::new(Server {
            settings: self.settings,
            tls,
            limits,
            routes,
            shutdown: shutdown.clone(),
        });
        let plain = self.plain.map(|plain| (plain, Security::Plain));
        for (listener, security) in [(self.listener, Security::Tls)].into_iter().chain(plain) {
            shutdown.spawn(accept::run(listener, Arc::clone(&server), security));
        }
    }
}

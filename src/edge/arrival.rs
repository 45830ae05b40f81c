//! How a connection begins, after it was accepted: who is at the other end, and TLS.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::listeners::Entrance;
use super::proxy_header::{self, ProxyHeaderError};
use super::server::{ROUND_TRIP, Server};
use super::unread;
use crate::limits::ConnectionPermit;
use crate::tls::{HandshakeError, TlsStream};
use crate::types::ClientIp;

impl Server {
    /// Who is at the other end, by the balancer's PROXY header if there is one; and
    /// whether that client may stay.
    pub(super) async fn introduce(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        entrance: Entrance,
        permit: ConnectionPermit,
    ) -> Option<(IpAddr, ConnectionPermit)> {
        let Some(wait) = entrance.proxy_header else {
            return Some((peer.ip(), permit));
        };
        match proxy_header::read(stream, wait).await {
            Ok(Some(client)) if self.is_proxy(client) => Some((client, permit)),
            Ok(Some(client)) => {
                let identified = self
                    .limits
                    .identify_connection(permit, ClientIp::new(client));
                Some((client, identified.ok()?))
            }
            Ok(None) => Some((peer.ip(), permit)),
            Err(error) => {
                let reason = error.reason();
                metrics::counter!("relay_edge_proxy_headers_refused_total", "reason" => reason)
                    .increment(1);
                // A balancer that looks whether the port is open sends none.
                if error != ProxyHeaderError::Ended {
                    tracing::warn!(
                        key = entrance.key(),
                        reason,
                        "a connection of TRUSTED_PROXIES was closed for its PROXY header"
                    );
                }
                None
            }
        }
    }

    /// TLS under a deadline.
    pub(super) async fn handshake(
        &self,
        stream: TcpStream,
        connection: &ConnectionPermit,
    ) -> Option<TlsStream> {
        let permit = self.limits.admit_handshake(connection).ok()?;
        let began = Instant::now();
        match self.accept(stream).await {
            Ok(stream) => {
                let stream = stream?;
                let kind = stream.handshake_name();
                metrics::histogram!("relay_edge_handshake_seconds", "kind" => kind)
                    .record(began.elapsed());
                Some(stream)
            }
            Err(failure) => {
                let reason = failure.reason();
                metrics::counter!("relay_edge_handshakes_failed_total", "reason" => reason)
                    .increment(1);
                match failure {
                    Failure::RanOut => self.limits.handshake_ran_out(connection),
                    Failure::Tls(HandshakeError::Http(mut told)) => {
                        // It shakes no hands any more.
                        drop(permit);
                        let patience = self.settings.load().unread_timeout;
                        let _ = told.shutdown().await;
                        unread::discard_rest(told, patience).await;
                    }
                    Failure::Tls(HandshakeError::Failed(_)) | Failure::Drain => {}
                }
                None
            }
        }
    }

    /// Shakes hands, or why not. Whoever takes longer than most would keep a node that drains from
    /// ending, and has asked for nothing.
    async fn accept(&self, stream: TcpStream) -> Result<Option<TlsStream>, Failure> {
        let patience = self.settings.load().handshake_timeout;
        let mut accepted = pin!(self.tls.accept(stream));
        // Without a wait for what all connections wait for.
        let soon = timeout(patience.min(ROUND_TRIP), accepted.as_mut()).await;
        if let Ok(accepted) = soon {
            return accepted.map_err(Failure::Tls);
        }
        tokio::select! {
            biased;
            accepted = timeout(patience.saturating_sub(ROUND_TRIP), accepted) => match accepted {
                Ok(accepted) => accepted.map_err(Failure::Tls),
                Err(_) => Err(Failure::RanOut),
            },
            () = self.shutdown.draining() => Err(Failure::Drain),
        }
    }
}

/// Why a handshake failed.
enum Failure {
    Drain,
    /// Nothing more came.
    RanOut,
    Tls(HandshakeError),
}

impl Failure {
    /// A closed label for metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::RanOut => "timeout",
            Self::Tls(_) => "failed",
        }
    }
}

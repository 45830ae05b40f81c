//! How a connection begins, after it was accepted: who is at the other end, and TLS.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::listeners::Entrance;
use super::proxy_header::{self, ProxyHeaderError};
use super::server::{ROUND_TRIP, Server};
use crate::limits::ConnectionPermit;
use crate::tls::TlsStream;
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
        let _permit = self.limits.admit_handshake(connection).ok()?;
        let began = Instant::now();
        match self.accept(stream).await {
            Ok(stream) => {
                let stream = stream?;
                let kind = stream.handshake_name();
                metrics::histogram!("relay_edge_handshake_seconds", "kind" => kind)
                    .record(began.elapsed());
                Some(stream)
            }
            Err(reason) => {
                if reason == RAN_OUT {
                    self.limits.handshake_ran_out(connection);
                }
                metrics::counter!("relay_edge_handshakes_failed_total", "reason" => reason)
                    .increment(1);
                None
            }
        }
    }

    /// Shakes hands, or why not. Whoever takes longer than most would keep a node that drains from
    /// ending, and has asked for nothing.
    async fn accept(&self, stream: TcpStream) -> Result<Option<TlsStream>, &'static str> {
        let patience = self.settings.load().handshake_timeout;
        let mut accepted = pin!(self.tls.accept(stream));
        // Without a wait for what all connections wait for.
        let soon = timeout(patience.min(ROUND_TRIP), accepted.as_mut()).await;
        if let Ok(accepted) = soon {
            return accepted.map_err(|_| "failed");
        }
        tokio::select! {
            biased;
            accepted = timeout(patience.saturating_sub(ROUND_TRIP), accepted) => match accepted {
                Ok(accepted) => accepted.map_err(|_| "failed"),
                Err(_) => Err(RAN_OUT),
            },
            () = self.shutdown.draining() => Err("drain"),
        }
    }
}

/// Why a handshake failed: nothing more came.
const RAN_OUT: &str = "timeout";

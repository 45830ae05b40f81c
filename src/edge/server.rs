//! One connection, from its socket to its end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::{HandshakeKind, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::activity::{Patience, Verdict};
use super::client_address::Trust;
use super::connection::{Connection, InFlight, Open, Tracked};
use super::http::{Spawner, http1_builder, http2_builder};
use super::listeners::{Entrance, Security};
use super::proxy_header;
use super::route::Routes;
use super::settings::Settings;
use crate::limits::{ConnectionPermit, Limits};
use crate::runtime::{Held, Shutdown};
use crate::tls::{ALPN_H2, Tls};
use crate::types::ClientIp;

/// What all connections share.
pub(super) struct Server {
    settings: Arc<Settings>,
    trust: Trust,
    tls: Tls,
    http1: http1::Builder,
    http2: http2::Builder<Spawner>,
    limits: Limits,
    routes: Routes,
    shutdown: Shutdown,
}

/// Which HTTP a connection speaks.
enum Version {
    Http1,
    Http2,
}

impl Server {
    pub(super) fn new(
        settings: Arc<Settings>,
        tls: Tls,
        limits: Limits,
        routes: Routes,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            http1: http1_builder(&settings),
            http2: http2_builder(&settings, &shutdown),
            trust: Trust {
                proxies: settings.trusted_proxies.clone(),
                sources: settings.client_address_headers.clone(),
            },
            settings,
            tls,
            limits,
            routes,
            shutdown,
        }
    }

    /// Whether a stranger may stay. A trusted proxy speaks for many, so its own
    /// address is not counted.
    pub(super) fn admit(&self, peer: SocketAddr, entrance: Entrance) -> Option<ConnectionPermit> {
        let is_proxy = self.trust.is_proxy(peer.ip());
        if entrance.is_for_proxies() && !is_proxy {
            metrics::counter!("relay_edge_strangers_refused_total").increment(1);
            return None;
        }
        let admitted = match is_proxy {
            true => self.limits.admit_proxy_connection(),
            false => self.limits.admit_connection(ClientIp::new(peer.ip())),
        };
        admitted.ok()
    }

    /// Serves one connection to its end: handshake, protocol by ALPN, requests.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut stream: TcpStream,
        (peer, entrance): (SocketAddr, Entrance),
        permit: ConnectionPermit,
    ) {
        let _open = Open::new();
        self.tune(&stream);
        let Some((peer, permit)) = self.introduce(&mut stream, peer, entrance, permit).await else {
            return;
        };
        let connection = Arc::new(Connection::new(peer, Held::new(permit)));
        match entrance.security {
            Security::Plain => self.talk(stream, Version::Http1, connection).await,
            Security::Tls => {
                let Some(stream) = self.handshake(stream).await else {
                    return;
                };
                let version = match stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
                    true => Version::Http2,
                    false => Version::Http1,
                };
                self.talk(stream, version, connection).await;
            }
        }
    }

    /// Who is at the other end, by the balancer's PROXY header if there is one; and
    /// whether whoever that is may stay.
    async fn introduce(
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
            Ok(Some(client)) if self.trust.is_proxy(client) => Some((client, permit)),
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
                None
            }
        }
    }

    /// Requests and answers, until the connection ends.
    async fn talk<S>(self: Arc<Self>, stream: S, version: Version, connection: Arc<Connection>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (server, seen) = (Arc::clone(&self), Arc::clone(&connection));
        let service = service_fn(move |request| {
            let (server, connection) = (Arc::clone(&server), Arc::clone(&seen));
            async move { Ok::<_, Infallible>(server.respond(request, &connection).await) }
        });
        let io = TokioIo::new(stream);
        match version {
            Version::Http2 => {
                let http2 = self.http2.serve_connection(io, service);
                self.run(http2, |c| c.graceful_shutdown(), &connection)
                    .await
            }
            Version::Http1 => {
                let upgradable = self.http1.serve_connection(io, service).with_upgrades();
                self.run(upgradable, |c| c.graceful_shutdown(), &connection)
                    .await;
            }
        }
    }

    fn tune(&self, stream: &TcpStream) {
        // Frames are small and each one is waited for. Failing here costs latency only.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        {
            let stall = u32::try_from(self.settings.stall_timeout.as_millis()).unwrap_or(u32::MAX);
            let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, stall);
        }
    }

    /// TLS under a deadline. The stream is boxed at once: it is over a kilobyte, and
    /// whoever holds it unboxed pays that in every state of its future.
    async fn handshake(&self, stream: TcpStream) -> Option<Box<TlsStream<TcpStream>>> {
        let _permit = self.limits.admit_handshake().ok()?;
        let accept = self.tls.accept(stream, self.settings.tls_buffer_bytes);
        let began = Instant::now();
        let outcome = match timeout(self.settings.handshake_timeout, accept).await {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(stream))) => {
                let kind = kind(stream.get_ref().1);
                metrics::histogram!("relay_edge_handshake_seconds", "kind" => kind)
                    .record(began.elapsed());
                return Some(Box::new(stream));
            }
            Ok(Err(_)) => "failed",
            Err(_) => "timeout",
        };
        metrics::counter!("relay_edge_handshakes_failed_total", "reason" => outcome).increment(1);
        None
    }

    /// Drives a connection: to its own end, or until it idles, or until the drain.
    async fn run<C: Future>(&self, connection: C, wind_down: fn(Pin<&mut C>), state: &Connection) {
        let mut connection = pin!(connection);
        let patience = Patience {
            first: self.settings.header_timeout,
            idle: self.settings.idle_timeout,
        };
        let mut wait = patience.first;
        loop {
            tokio::select! {
                _ = connection.as_mut() => return,
                () = self.shutdown.draining() => break,
                () = sleep(wait) => match state.verdict(patience) {
                    Verdict::LookAgainIn(next) => wait = next,
                    Verdict::Close => {
                        metrics::counter!("relay_edge_idle_closed_total").increment(1);
                        wind_down(connection.as_mut());
                        let _ = timeout(GOODBYE, connection).await;
                        return;
                    }
                },
            }
        }
        // Draining: what is under way may finish; the drain's grace bounds it.
        wind_down(connection.as_mut());
        let _ = connection.await;
    }

    async fn respond(
        &self,
        mut request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> Response<Tracked> {
        let in_flight = InFlight::new(connection);
        request.extensions_mut().insert(connection.held.clone());
        let (client, origin) = self.trust.client(connection.peer, request.headers());
        metrics::counter!("relay_edge_client_address_total", "from" => origin.name()).increment(1);
        let response = self.routes.respond(request, client).await;
        response.map(|body| in_flight.track(body))
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

/// What a handshake cost: a resumed one saves the certificate and its signature.
fn kind(connection: &ServerConnection) -> &'static str {
    match connection.handshake_kind() {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "full",
    }
}

/// For an idle connection to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

//! One connection, from its socket to its end.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::activity::{Patience, Verdict};
use super::connection::{Connection, InFlight, Open, Tracked};
use super::http::{http1_builder, http2_builder, upgraded_stream_of_this_request};
use super::listeners::{Entrance, Security};
use super::route::Routes;
use super::settings::Settings;
use super::unread::{self, Owed};
use super::watched::Watched;
use super::{proxy_header, tcp};
use crate::limits::{ConnectionPermit, Limits};
use crate::runtime::{Held, Live, Shutdown, Transport};
use crate::tls::{ALPN_H2, Tls, TlsStream};
use crate::types::ClientIp;

/// What all connections share.
pub(super) struct Server {
    settings: Live<Settings>,
    tls: Tls,
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
        settings: Live<Settings>,
        tls: Tls,
        limits: Limits,
        routes: Routes,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            settings,
            tls,
            limits,
            routes,
            shutdown,
        }
    }

    /// How a connection to the listener of this security begins now.
    pub(super) fn entrance(&self, security: Security) -> Entrance {
        Entrance::of(security, &self.settings.load())
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.settings.load().trust().is_proxy(address)
    }

    /// Whether a stranger may stay. A trusted proxy speaks for many, so its own
    /// address is not counted.
    pub(super) fn admit(&self, peer: SocketAddr, entrance: Entrance) -> Option<ConnectionPermit> {
        let is_proxy = self.is_proxy(peer.ip());
        if entrance.is_for_proxies() && !is_proxy {
            metrics::counter!("relay_edge_strangers_refused_total").increment(1);
            tracing::warn!(
                key = entrance.key(),
                "a connection was closed: it is not of the networks in TRUSTED_PROXIES, and nobody \
                 else may use this listener"
            );
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
        let open = Open::new();
        tcp::tune(&stream, self.settings.load().stall_timeout);
        let Some((peer, permit)) = self.introduce(&mut stream, peer, entrance, permit).await else {
            return;
        };
        let (stream, version) = match entrance.security {
            Security::Plain => (Transport::new(tcp::plain(stream)), Version::Http1),
            Security::Tls => {
                let Some(stream) = self.handshake(stream, &permit).await else {
                    return;
                };
                let version = match stream.alpn_protocol() == Some(ALPN_H2) {
                    true => Version::Http2,
                    false => Version::Http1,
                };
                (Transport::new(stream), version)
            }
        };
        let offender = permit.client();
        let connection = Connection::new(peer, offender, Held::new((permit, open)));
        let connection = Arc::new(connection);
        self.talk(stream, version, connection).await;
    }

    /// Who is at the other end, by the balancer's PROXY header if there is one; and
    /// whether that client may stay.
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
                if !error.is_absent() {
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

    /// Requests and answers, until the connection ends.
    async fn talk(
        self: Arc<Self>,
        stream: Transport,
        version: Version,
        connection: Arc<Connection>,
    ) {
        let (server, seen) = (Arc::clone(&self), Arc::clone(&connection));
        let service = service_fn(move |request| {
            let (server, connection) = (Arc::clone(&server), Arc::clone(&seen));
            async move { Ok::<_, Infallible>(server.respond(request, &connection).await) }
        });
        match version {
            Version::Http2 => {
                // hyper lets go of an answer when the last of it is in HTTP/2's buffers. A
                // client on a slow network may take minutes for what many streams have there,
                // and all that shows it is that its connection has no room.
                let writing = Arc::clone(&connection);
                let watch = move |_: &_, is_blocked| writing.note_write(is_blocked);
                let io = TokioIo::new(Watched::new(stream, watch));
                let http2 = http2_builder(&self.settings.load(), &self.shutdown);
                let http2 = http2.serve_connection(io, service);
                // A GOAWAY tells which streams are still served.
                let linger = Duration::ZERO;
                self.run(http2, |c| c.graceful_shutdown(), &connection, linger)
                    .await
            }
            Version::Http1 => {
                let http1 = http1_builder(&self.settings.load());
                let http1 = http1.serve_connection(TokioIo::new(stream), service);
                let http1 = http1.with_upgrades();
                self.run(http1, |c| c.graceful_shutdown(), &connection, LINGER)
                    .await;
            }
        }
    }

    /// TLS under a deadline.
    async fn handshake(
        &self,
        stream: TcpStream,
        connection: &ConnectionPermit,
    ) -> Option<TlsStream> {
        let _permit = self.limits.admit_handshake(connection).ok()?;
        let patience = self.settings.load().handshake_timeout;
        let accept = self.tls.accept(stream);
        let began = Instant::now();
        let outcome = match timeout(patience, accept).await {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(stream))) => {
                let kind = stream.handshake_name();
                metrics::histogram!("relay_edge_handshake_seconds", "kind" => kind)
                    .record(began.elapsed());
                return Some(stream);
            }
            Ok(Err(_)) => "failed",
            Err(_) => {
                self.limits.handshake_ran_out(connection);
                "timeout"
            }
        };
        metrics::counter!("relay_edge_handshakes_failed_total", "reason" => outcome).increment(1);
        None
    }

    fn patience(&self) -> Patience {
        let settings = self.settings.load();
        Patience {
            first: settings.header_timeout,
            idle: settings.idle_timeout,
            stall: settings.stall_timeout,
            pace: self.limits.least_pace_of_answers(),
        }
    }

    /// With a client that has been told to go, and may be gone without a word.
    fn last_patience(&self) -> Patience {
        Patience {
            first: GOODBYE,
            idle: GOODBYE,
            ..self.patience()
        }
    }

    /// Drives a connection: to its own end, or until it idles, or until the drain;
    /// then it has `linger` to ask once more and be told that the connection closes.
    async fn run<C: Future<Output = hyper::Result<()>>>(
        &self,
        connection: C,
        wind_down: fn(Pin<&mut C>),
        state: &Connection,
        linger: Duration,
    ) {
        let mut connection = pin!(connection);
        tokio::select! {
            attended = self.attend(connection.as_mut(), state, Self::patience) => {
                if attended == Attended::Idle {
                    metrics::counter!("relay_edge_idle_closed_total").increment(1);
                    wind_down(connection.as_mut());
                    // A request may have crossed with the goodbye: it is served.
                    self.attend(connection, state, Self::last_patience).await;
                }
                return;
            }
            () = self.shutdown.draining() => {}
            () = state.is_unwelcome() => {
                metrics::counter!("relay_edge_refused_closed_total").increment(1);
                wind_down(connection.as_mut());
                tokio::select! {
                    biased;
                    _ = timeout(GOODBYE, connection) => {}
                    // Over HTTP/2, the goodbye lets it ask on until it has answered.
                    () = state.is_unwelcome() => {}
                }
                return;
            }
        }
        // Draining: what is under way may finish; the drain's grace bounds it. Closing an
        // idle connection at once would cross with the request that is on its way.
        if timeout(linger, connection.as_mut()).await.is_err() {
            wind_down(connection.as_mut());
            self.attend(connection, state, Self::last_patience).await;
        }
    }

    /// Drives a connection to its own end, or to that of patience with its client.
    async fn attend<C: Future<Output = hyper::Result<()>>>(
        &self,
        mut connection: Pin<&mut C>,
        state: &Connection,
        patience: fn(&Self) -> Patience,
    ) -> Attended {
        let mut changed = pin!(self.settings.changed());
        let mut wait = patience(self).first;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    self.note_end(&ended, state);
                    return Attended::Ended;
                }
                () = changed.as_mut() => {
                    changed.set(self.settings.changed());
                    wait = Duration::ZERO;
                }
                () = sleep(wait) => match state.verdict(patience(self)) {
                    Verdict::LookAgainIn(next) => wait = next,
                    Verdict::Stalled => {
                        metrics::counter!("relay_edge_answers_stalled_total").increment(1);
                        if !state.cut_stalled(patience(self)) {
                            return Attended::Ended;
                        }
                        wait = Duration::ZERO;
                    }
                    Verdict::Idle => return Attended::Idle,
                },
            }
        }
    }

    /// A head that cannot be read is refused by hyper, before any rule has seen it.
    fn note_end(&self, ended: &hyper::Result<()>, state: &Connection) {
        if ended.as_ref().is_err_and(hyper::Error::is_parse) {
            metrics::counter!("relay_edge_heads_refused_total").increment(1);
            if let Some(offender) = state.offender {
                self.limits.misspoke(offender);
            }
        }
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        connection: &Arc<Connection>,
    ) -> Response<Tracked> {
        let in_flight = InFlight::new(connection);
        let (mut request, mut body) = request.into_parts();
        let is_http1 = request.version < http::Version::HTTP_2;
        let held = match upgraded_stream_of_this_request() {
            // A WebSocket over HTTP/2 (RFC 8441) is in use for as long as it is open, and its
            // connection with it; the body of its answer, which is empty, goes at once. When
            // its session has ended, nothing of it stays.
            Some(stream) if request.method == Method::CONNECT => {
                Held::of_stream((connection.held.clone(), InFlight::new(connection)), stream)
            }
            _ => connection.held.clone(),
        };
        request.extensions.insert(held);
        let (client, origin, is_shared, owed) = {
            let (settings, peer) = (self.settings.load(), connection.peer);
            let trust = settings.trust();
            let (client, origin) = trust.client(peer, &request.headers);
            (client, origin, trust.is_proxy(peer), Owed::of(&settings))
        };
        if !is_shared {
            request.extensions.insert(connection.proved.clone());
        }
        metrics::counter!("relay_edge_client_address_total", "from" => origin.name()).increment(1);
        // Who waits for a word before it sends its body will not send it after another one.
        let is_sent = !request.headers.contains_key(EXPECT);
        let mut response = self.routes.respond(request, &mut body, client).await;
        if connection.offender.is_some() {
            match response.status() {
                StatusCode::TOO_MANY_REQUESTS => {
                    connection.note_refusal(self.limits.refusals_max());
                }
                _ => connection.note_answer(),
            }
        }
        if is_sent && !body.is_end_stream() {
            self.shutdown.spawn(unread::discard(body, owed));
        }
        if is_http1 && self.shutdown.is_leaving() && !response.headers().contains_key(CONNECTION) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|body| in_flight.track(body))
    }
}

/// What became of a connection.
#[derive(Debug, Eq, PartialEq)]
enum Attended {
    /// It has ended, or must.
    Ended,
    /// Nothing happens on it.
    Idle,
}

/// For a client in the middle of a series of calls to make the next one, and to hear
/// that it should go on elsewhere. Short beside a drain's grace.
const LINGER: Duration = Duration::from_secs(2);

/// For a connection on which nothing happens to say goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

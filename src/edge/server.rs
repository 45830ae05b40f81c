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

use super::attend::Attended;
use super::connection::{Connection, InFlight, Tracked};
use super::http::{http1_builder, http2_builder, upgraded_stream_of_this_request};
use super::http2_frames::Frames;
use super::listeners::{Entrance, Security};
use super::route::Routes;
use super::settings::Settings;
use super::tcp;
use super::watched::Watched;
use super::{unread, unreadable};
use crate::limits::{ConnectionPermit, Limits};
use crate::runtime::{Held, Http1Io, Live, Shutdown, Transport};
use crate::tls::{ALPN_H2, Tls};
use crate::types::ClientIp;

/// What all connections share.
pub(super) struct Server {
    pub(super) settings: Live<Settings>,
    pub(super) tls: Tls,
    pub(super) limits: Limits,
    pub(super) routes: Routes,
    pub(super) shutdown: Shutdown,
}

/// Which HTTP a connection speaks.
enum Version {
    Http1,
    Http2,
}

impl Server {
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
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
        tcp::tune(&stream, self.settings.load().stall_timeout);
        let Some((peer, permit)) = self.introduce(&mut stream, peer, entrance, permit).await else {
            return;
        };
        let (stream, version): (Transport, _) = match entrance.security {
            Security::Plain => (Box::new(tcp::plain(stream)), Version::Http1),
            Security::Tls => {
                let Some(stream) = self.handshake(stream, &permit).await else {
                    return;
                };
                let version = match stream.alpn_protocol() == Some(ALPN_H2) {
                    true => Version::Http2,
                    false => Version::Http1,
                };
                (Box::new(stream), version)
            }
        };
        let offender = permit.client();
        let connection = Connection::new(peer, offender, Held::new(permit));
        let connection = Arc::new(connection);
        self.talk(stream, version, connection).await;
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
                let watch = move |stream: &Transport, is_blocked| {
                    writing.note_write(is_blocked);
                    writing.patience.note_write(stream.socket(), is_blocked);
                };
                let mut budget = connection.offender.map(|one| self.limits.http2_frames(one));
                let mut frames = Frames::default();
                let hear = move |bytes: &[u8]| {
                    let budget = budget.as_mut();
                    budget.is_none_or(|budget| budget.admit(frames.see(bytes)))
                };
                let io = TokioIo::new(Watched::new(stream, hear, watch));
                let http2 = http2_builder(&self.settings.load(), &self.shutdown);
                let http2 = pin!(http2.serve_connection(io, service));
                // A GOAWAY tells which streams are still served.
                let linger = Duration::ZERO;
                self.run(http2, |c| c.graceful_shutdown(), &connection, linger)
                    .await;
            }
            Version::Http1 => {
                let http1 = http1_builder(&self.settings.load());
                let patience = connection.patience.clone();
                let io = Http1Io::new(stream, unreadable::in_our_words, patience);
                let http1 = http1.serve_connection(io, service);
                let mut http1 = http1.with_upgrades();
                let run = Pin::new(&mut http1);
                let run = self.run(run, |c| c.graceful_shutdown(), &connection, LINGER);
                if run.await == Attended::Refused
                    && let Some(parts) = http1.into_parts()
                {
                    let patience = self.settings.load().unread_timeout;
                    unread::discard_rest(parts.io.into_inner(), patience).await;
                }
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
        let (client, origin, is_shared) = {
            let (settings, peer) = (self.settings.load(), connection.peer);
            let trust = settings.trust();
            let (client, origin) = trust.client(peer, &request.headers);
            (client, origin, trust.is_proxy(peer))
        };
        if !is_shared {
            request.extensions.insert(connection.proved.clone());
            request.extensions.insert(connection.patience.clone());
        }
        metrics::counter!("relay_edge_client_address_total", "from" => origin.name()).increment(1);
        // Who waits for a word before it sends its body will not send it after another one; but
        // who has sent some of it has had its word.
        let (waits, announced) = (request.headers.contains_key(EXPECT), left_of(&body));
        let mut response = self.routes.respond(request, &mut body, client).await;
        if connection.offender.is_some() {
            match response.status() {
                StatusCode::TOO_MANY_REQUESTS => {
                    connection.note_refusal(self.limits.refusals_max());
                }
                _ => connection.note_answer(),
            }
        }
        let is_sent = !waits || left_of(&body) < announced;
        if is_sent && !body.is_end_stream() {
            let rest = unread::discard(body, self.settings.snapshot());
            self.shutdown.spawn(rest);
        }
        if is_http1 && self.shutdown.is_leaving() && !response.headers().contains_key(CONNECTION) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response.map(|body| in_flight.track(body))
    }
}

/// How much of a body is still to come, if its length was told.
fn left_of(body: &Incoming) -> u64 {
    body.size_hint().lower()
}

/// For a client in the middle of a series of calls to make the next one, and to hear
/// that it should go on elsewhere. Short beside a drain's grace.
const LINGER: Duration = Duration::from_secs(2);

/// What a phone that is there may need to say something, on a bad network. Short beside a drain's
/// grace.
pub(super) const ROUND_TRIP: Duration = Duration::from_secs(5);

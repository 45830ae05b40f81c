//! The operator's listener: health in detail, metrics, the penalty box and the end of
//! accounts. Plain HTTP, and meant for loopback or a private network.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::accept;
use super::accounts;
use super::error::EdgeError;
use super::health::Health;
use super::penalties;
use super::route::{bare, json, not_found, to_read};
use super::settings::Settings;
use super::tcp;
use crate::limits::Limits;
use crate::runtime::{Live, Shutdown};
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::wire::{Body, XrpcError, XrpcStatus, full};

/// The listener, bound but not yet accepting.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    pub fn bind(address: SocketAddr) -> Result<Self, EdgeError> {
        Ok(Self {
            listener: accept::bind(address, "edge.admin_listen (RELAY_ADMIN_LISTEN)")?,
        })
    }

    pub fn address(&self) -> Result<SocketAddr, EdgeError> {
        self.listener.local_addr().map_err(EdgeError::Listener)
    }

    /// Starts to answer, until the very end: a drain is when operators look.
    pub fn serve(
        self,
        health: Health,
        metrics: Metrics,
        limits: Limits,
        store: Store,
        settings: Live<Settings>,
        shutdown: &Shutdown,
    ) {
        let answers = Answers {
            health,
            metrics,
            limits,
            store,
            settings,
        };
        let state = (self.listener, answers, shutdown.clone());
        shutdown.spawn_lasting("admin", state, |(listener, answers, shutdown)| {
            Box::pin(run(listener, answers, shutdown))
        });
    }
}

#[derive(Clone)]
struct Answers {
    health: Health,
    metrics: Metrics,
    limits: Limits,
    store: Store,
    settings: Live<Settings>,
}

impl Answers {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        // A browser says for which page it asks, whatever name has led the page here: none has
        // anything to change (Fetch standard, "append a request `Origin` header").
        if !is_read && request.headers().contains_key(ORIGIN) {
            let message = "Origin: a page has nothing to change here";
            return XrpcError::new(XrpcStatus::Forbidden, "Forbidden", message).into_response();
        }
        let answer = match request.uri().path() {
            "/accounts" => return accounts::answer(request, &self.store).await,
            "/penalties" => return penalties::answer(request, &self.limits),
            "/health" => {
                let (status, report) = self.health.report();
                json(status, report.to_string())
            }
            "/health/live" => bare(StatusCode::OK),
            "/health/ready" => bare(self.health.ready()),
            "/metrics" => exposition(self.metrics.render()),
            _ => return not_found(),
        };
        to_read(request.method(), answer)
    }
}

fn exposition(text: String) -> Response<Body> {
    let mut response = Response::new(full(text));
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
    );
    response
}

async fn run(listener: &TcpListener, answers: &Answers, shutdown: &Shutdown) {
    let places = Arc::new(Semaphore::new(
        answers.settings.load().admin_connections_max,
    ));
    loop {
        let (stream, _) = accept::next(listener).await;
        // Over the bound a connection is closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            metrics::counter!("relay_edge_admin_refused_total").increment(1);
            continue;
        };
        let answers = answers.clone();
        shutdown.spawn_background(async move {
            serve(stream, answers).await;
            drop(place);
        });
    }
}

async fn serve(stream: TcpStream, answers: Answers) {
    let (idle, stall) = {
        let settings = answers.settings.load();
        (settings.idle_timeout, settings.stall_timeout)
    };
    // Whoever takes nothing of its answer keeps no place for ever.
    tcp::tune(&stream, stall);
    let service = service_fn(move |request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service);
    // How it ended is of interest to the other end only.
    let _ = connection.await;
}

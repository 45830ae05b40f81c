//! From a path to the part that answers it.

use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
    STRICT_TRANSPORT_SECURITY,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::cors;
use super::did_document::DidDocument;
use super::framing;
use super::gate::Gate;
use super::health::Health;
use super::host;
use super::settings::Settings;
use crate::refusal::{Refusal, wrong_method};
use crate::session::Sessions;
use crate::types::{ClientIp, Kind, Nsid};
use crate::wire::{Body, XrpcError, XrpcStatus, full, invalid};
use crate::xrpc::Calls;

/// Every part that answers on the public listener.
#[derive(Clone)]
pub struct Routes {
    gate: Gate,
    calls: Calls,
    sessions: Sessions,
    health: Health,
    did_document: Option<DidDocument>,
    /// Strict-Transport-Security, when it is sent.
    hsts: Option<HeaderValue>,
}

impl Routes {
    pub fn new(
        settings: &Settings,
        gate: Gate,
        calls: Calls,
        sessions: Sessions,
        health: Health,
        did_document: Option<DidDocument>,
    ) -> Self {
        let seconds = settings.hsts_max_age.as_secs();
        let hsts = HeaderValue::try_from(format!("max-age={seconds}; includeSubDomains")).ok();
        Self {
            gate,
            calls,
            sessions,
            health,
            did_document,
            hsts: hsts.filter(|_| seconds > 0),
        }
    }

    /// Answers one request. Every answer passes here on its way out.
    pub(super) async fn respond(
        &self,
        mut request: Parts,
        body: &mut Incoming,
        client: ClientIp,
    ) -> Response<Body> {
        let is_head = request.method == Method::HEAD;
        let mut response = match self.gate.enter(&mut request, client).await {
            Ok(entered) => {
                let response = self.answer(request, body, client).await;
                self.gate.leave(entered, client, response).await
            }
            Err(refused) => *refused,
        };
        let class = class(response.status());
        metrics::counter!("relay_edge_responses_total", "class" => class).increment(1);
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            let headers = response.headers_mut();
            headers.entry(RETRY_AFTER).or_insert(COME_BACK);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            cors::allow(response.headers_mut());
        }
        if let Some(hsts) = &self.hsts {
            response
                .headers_mut()
                .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if is_head {
            without_body(&mut response);
        }
        response
    }

    async fn answer(
        &self,
        request: Parts,
        body: &mut Incoming,
        client: ClientIp,
    ) -> Response<Body> {
        if let Some(fault) = host::fault(&request) {
            return invalid("Host", fault).into_response();
        }
        if let Some(fault) = framing::fault(&request.headers) {
            let mut response = invalid("Transfer-Encoding", fault).into_response();
            // What follows may be another's.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            return response;
        }
        if request.method == Method::OPTIONS {
            return cors::preflight();
        }
        let path = request.uri.path();
        if let Some(answer) = self.page(path) {
            return to_read(&request.method, answer);
        }
        let Some(nsid) = path.strip_prefix("/xrpc/") else {
            return not_found();
        };
        match Nsid::parse(nsid) {
            Some(Nsid::StreamConvoEvents) => self.sessions.stream(request, client).await,
            Some(call) if call.kind() == Kind::Subscription => {
                self.sessions.subscribe(request, client).await
            }
            Some(call) => self.calls.call(call, (&request, body), client).await,
            None => XrpcError::from(Refusal::MethodNotImplemented).into_response(),
        }
    }

    /// What stands at a path for anybody to read.
    fn page(&self, path: &str) -> Option<Response<Body>> {
        Some(match path {
            "/xrpc/_health" => of_now(self.version()),
            "/health" | "/health/ready" => of_now(bare(self.health.ready())),
            // This answers, so nobody needs to restart us.
            "/health/live" => of_now(bare(StatusCode::OK)),
            "/.well-known/did.json" => json(StatusCode::OK, self.did_document.as_ref()?.bytes()),
            _ => return None,
        })
    }

    /// What ATProto services answer at `/xrpc/_health`.
    fn version(&self) -> Response<Body> {
        let status = self.health.ready();
        let body = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        json(status, body.to_string())
    }
}

/// After a 503 that does not know better, such as that of a node that is not ready.
const COME_BACK: HeaderValue = HeaderValue::from_static("5");

/// What a dashboard tells apart.
fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        429 => "429",
        400..=499 => "4xx",
        503 => "503",
        _ => "5xx",
    }
}

pub(super) fn json(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer to HEAD tells the length of what GET would bring (RFC 9110 section 9.3.2).
/// hyper sees to it over HTTP/1.1; over HTTP/2 it sends the body.
fn without_body(response: &mut Response<Body>) {
    if let Some(len) = response.body().size_hint().exact() {
        let headers = response.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(len.into());
    }
    *response.body_mut() = full("");
}

/// A status and nothing else: probes read no more, and strangers learn no more.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}

/// What a cache keeps of such an answer is wrong; some keep what does not forbid it.
fn of_now(mut answer: Response<Body>) -> Response<Body> {
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, no_store);
    answer
}

/// An answer that can only be read.
pub(super) fn to_read(method: &Method, answer: Response<Body>) -> Response<Body> {
    match *method {
        Method::GET | Method::HEAD => answer,
        _ => wrong_method("GET, HEAD").into_response(),
    }
}

pub(super) fn not_found() -> Response<Body> {
    XrpcError::new(
        XrpcStatus::NotFound,
        "NotFound",
        "there is nothing at this path",
    )
    .into_response()
}

/// What a parameter names: as it stands, for an address or a DID needs no escapes here and
/// a DID may hold one of its own; or else as HTTP clients escape it.
pub(super) fn named<T, E>(
    query: &str,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<Result<T, E>> {
    let raw = value(query, name)?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let unescaped = pairs.find(|(key, _)| key == name).map(|(_, value)| value);
    Some(parse(raw).or_else(|_| parse(unescaped.as_deref().unwrap_or(raw))))
}

/// A parameter as it stands.
pub(super) fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

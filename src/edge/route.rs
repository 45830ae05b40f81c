//! From a path to whoever answers it.

use http::header::{CONTENT_TYPE, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::did_document::DidDocument;
use super::health::Health;
use super::settings::Settings;
use crate::types::{ClientIp, Nsid};
use crate::wire::{Body, XrpcError, XrpcStatus, full};

/// Everyone who answers on the public listener.
#[derive(Clone, Debug)]
pub struct Routes {
    health: Health,
    did_document: Option<DidDocument>,
    /// Strict-Transport-Security, when it is sent.
    hsts: Option<HeaderValue>,
}

impl Routes {
    pub fn new(settings: &Settings, health: Health, did_document: Option<DidDocument>) -> Self {
        let seconds = settings.hsts_max_age.as_secs();
        let hsts = HeaderValue::try_from(format!("max-age={seconds}; includeSubDomains")).ok();
        Self {
            health,
            did_document,
            hsts: hsts.filter(|_| seconds > 0),
        }
    }

    /// Answers one request. Every answer passes here on its way out.
    pub(super) async fn respond(
        &self,
        request: Request<Incoming>,
        client: ClientIp,
    ) -> Response<Body> {
        let mut response = self.answer(request, client).await;
        if let Some(hsts) = &self.hsts {
            response
                .headers_mut()
                .insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        response
    }

    async fn answer(&self, request: Request<Incoming>, client: ClientIp) -> Response<Body> {
        match Route::of(request.method(), request.uri().path()) {
            Route::Call => self.call(request, client).await,
            Route::DidDocument => self.did(),
            Route::Live => bare(Health::live()),
            Route::Nothing => not_found(),
            Route::Ready => bare(self.health.ready()),
            Route::Version => self.version(),
        }
    }

    async fn call(&self, request: Request<Incoming>, _client: ClientIp) -> Response<Body> {
        let message = match Nsid::parse(request.uri().path().trim_start_matches("/xrpc/")) {
            Some(_) => "this relay does not serve the call",
            None => "there is no such call",
        };
        XrpcError::new(XrpcStatus::NotImplemented, "MethodNotImplemented", message).into_response()
    }

    /// What ATProto services answer at `/xrpc/_health`.
    fn version(&self) -> Response<Body> {
        let status = self.health.ready();
        let body = serde_json::json!({ "version": env!("CARGO_PKG_VERSION") });
        json(status, body.to_string())
    }

    fn did(&self) -> Response<Body> {
        match &self.did_document {
            Some(document) => json(StatusCode::OK, document.bytes()),
            None => not_found(),
        }
    }
}

/// Who answers a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Route {
    Call,
    DidDocument,
    Live,
    Nothing,
    Ready,
    Version,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        match path {
            "/xrpc/_health" if is_read => Self::Version,
            "/health" | "/health/ready" if is_read => Self::Ready,
            "/health/live" if is_read => Self::Live,
            "/.well-known/did.json" if is_read => Self::DidDocument,
            _ if path.starts_with("/xrpc/") => Self::Call,
            _ => Self::Nothing,
        }
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

/// A status and nothing else: probes read no more, and strangers learn no more.
pub(super) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = status;
    response
}

pub(super) fn not_found() -> Response<Body> {
    XrpcError::new(XrpcStatus::NotFound, "NotFound", "nothing is at this path").into_response()
}

//! The way of a call: name, verb, caller, quota, body, handler, answer.

use std::time::{Duration, Instant};

use chrono::Utc;
use http::header::HeaderMap;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::answer::{allow, json_response};
use super::body::{Bodies, ReadBody};
use super::context::Context;
use super::{Settings, convos, devices, key_packages, membership, messages, tickets, welcomes};
use crate::auth::Authenticator;
use crate::limits::{Decision, Limits};
use crate::refusal::Refusal;
use crate::runtime::Live;
use crate::store::Store;
use crate::types::{ClientIp, Kind, Nsid};
use crate::wire::{Body, XrpcError, decode_body, decode_query};

/// Every call that is a request and an answer. Clones share everything.
#[derive(Clone)]
pub struct Calls {
    store: Store,
    auth: Authenticator,
    limits: Limits,
    settings: Live<Settings>,
    bodies: Bodies,
}

/// A request whose caller is known, up to its body.
struct Admitted<'a> {
    cx: Context<'a>,
    query: Option<String>,
    headers: HeaderMap,
    body: Incoming,
}

impl Calls {
    pub fn new(
        store: Store,
        auth: Authenticator,
        limits: Limits,
        settings: Live<Settings>,
    ) -> Self {
        let bodies = Bodies::new(settings.load().bodies_bytes_max);
        Self {
            store,
            auth,
            limits,
            settings,
            bodies,
        }
    }

    /// Answers one request for a path under `/xrpc/`.
    pub async fn call(&self, request: Request<Incoming>, client: ClientIp) -> Response<Body> {
        let path = request.uri().path();
        let call = path.strip_prefix("/xrpc/").and_then(Nsid::parse);
        let Some(call) = call else {
            return XrpcError::from(Refusal::MethodNotImplemented).into_response();
        };
        let begun = Instant::now();
        let mut quota = None;
        let response = self.admit(call, request, client, &mut quota).await;
        let mut response = response.unwrap_or_else(|error| {
            metrics::counter!("relay_calls_refused_total",
                "call" => call.name(), "status" => (error.status as u16).to_string())
            .increment(1);
            error.into_response()
        });
        if response.status() == http::StatusCode::METHOD_NOT_ALLOWED {
            allow(&mut response, call.kind());
        }
        if let Some(decision) = quota {
            decision.write_headers(response.headers_mut(), unix_now());
        }
        metrics::histogram!("relay_call_seconds", "call" => call.name())
            .record(begun.elapsed().as_secs_f64());
        response
    }

    async fn admit(
        &self,
        call: Nsid,
        request: Request<Incoming>,
        client: ClientIp,
        quota: &mut Option<Decision>,
    ) -> Result<Response<Body>, XrpcError> {
        if !is_implemented(call) {
            return Err(Refusal::MethodNotImplemented.into());
        }
        let wanted = match call.kind() {
            Kind::Procedure => Method::POST,
            Kind::Query | Kind::Subscription => Method::GET,
        };
        if *request.method() != wanted {
            return Err(Refusal::MethodNotAllowed.into());
        }
        let caller = self.auth.caller(request.headers(), call, client).await?;
        // The edge counted the request against its address; now an account answers
        // for it instead.
        if let Some(counted) = request.extensions().get::<Decision>() {
            self.limits.proved(counted, client, caller.did());
        }
        let decision = self.limits.check_did(caller.did(), call);
        let admitted = decision.admit();
        *quota = Some(decision);
        admitted?;
        let (parts, body) = request.into_parts();
        let admitted = Admitted {
            cx: Context {
                store: &self.store,
                auth: &self.auth,
                settings: self.settings.snapshot(),
                caller,
                now: Utc::now(),
            },
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            body,
        };
        match call.kind() {
            Kind::Query => answer_query(call, &admitted).await,
            Kind::Procedure | Kind::Subscription => self.answer_procedure(call, admitted).await,
        }
    }

    async fn answer_procedure(
        &self,
        call: Nsid,
        admitted: Admitted<'_>,
    ) -> Result<Response<Body>, XrpcError> {
        let cx = admitted.cx;
        let bytes_max = match call {
            Nsid::SendMessage => cx.settings.message_body_bytes_max,
            _ => cx.settings.body_bytes_max,
        };
        let timeout = cx.settings.body_timeout;
        let body = self
            .bodies
            .read(&admitted.headers, admitted.body, bytes_max, timeout)
            .await?;
        match call {
            Nsid::AddMembers => json_response(&membership::add(&cx, input(&body)?).await?),
            Nsid::ConfirmWelcome => json_response(&welcomes::confirm(&cx, input(&body)?).await?),
            Nsid::CreateConvo => json_response(&convos::create(&cx, input(&body)?).await?),
            Nsid::GetSubscriptionTicket => {
                json_response(&tickets::subscription(&cx, input(&body)?).await?)
            }
            Nsid::LeaveConvo => json_response(&membership::leave(&cx, input(&body)?).await?),
            Nsid::PublishKeyPackage => {
                json_response(&key_packages::publish_one(&cx, input(&body)?).await?)
            }
            Nsid::PublishKeyPackages => {
                json_response(&key_packages::publish_many(&cx, input(&body)?).await?)
            }
            Nsid::RegisterDevice => json_response(&devices::register(&cx, input(&body)?).await?),
            Nsid::RemoveMember => json_response(&membership::remove(&cx, input(&body)?).await?),
            Nsid::SendMessage => json_response(&messages::send(&cx, input(&body)?).await?),
            Nsid::UpdateCursor => {
                json_response(&messages::update_cursor(&cx, input(&body)?).await?)
            }
            _ => Err(Refusal::MethodNotImplemented.into()),
        }
    }
}

async fn answer_query(call: Nsid, admitted: &Admitted<'_>) -> Result<Response<Body>, XrpcError> {
    let (cx, query) = (&admitted.cx, admitted.query.as_deref());
    match call {
        Nsid::GetCommits => json_response(&messages::commits(cx, params(query)?).await?),
        Nsid::GetConvos => json_response(&convos::list(cx, params(query)?).await?),
        Nsid::GetEpoch => json_response(&convos::epoch(cx, params(query)?).await?),
        Nsid::GetKeyPackageStats => json_response(&key_packages::stats(cx, params(query)?).await?),
        Nsid::GetKeyPackages => json_response(&key_packages::claim(cx, params(query)?).await?),
        Nsid::GetMessages => json_response(&messages::page(cx, params(query)?).await?),
        Nsid::GetWelcome => json_response(&welcomes::fetch(cx, params(query)?).await?),
        Nsid::ListDevices => json_response(&devices::list(cx, params(query)?).await?),
        _ => Err(Refusal::MethodNotImplemented.into()),
    }
}

fn unix_now() -> Duration {
    let millis = Utc::now().timestamp_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// The calls that the two matches above know.
fn is_implemented(call: Nsid) -> bool {
    matches!(
        call,
        Nsid::AddMembers
            | Nsid::ConfirmWelcome
            | Nsid::CreateConvo
            | Nsid::GetCommits
            | Nsid::GetConvos
            | Nsid::GetEpoch
            | Nsid::GetKeyPackageStats
            | Nsid::GetKeyPackages
            | Nsid::GetMessages
            | Nsid::GetSubscriptionTicket
            | Nsid::GetWelcome
            | Nsid::LeaveConvo
            | Nsid::ListDevices
            | Nsid::PublishKeyPackage
            | Nsid::PublishKeyPackages
            | Nsid::RegisterDevice
            | Nsid::RemoveMember
            | Nsid::SendMessage
            | Nsid::UpdateCursor
    )
}

/// The input of a procedure. No body at all is an empty object: what is missing
/// is then named.
fn input<T: DeserializeOwned>(body: &ReadBody) -> Result<T, XrpcError> {
    if body.bytes.is_empty() {
        return decode_body(b"{}");
    }
    decode_body(&body.bytes)
}

fn params<T: DeserializeOwned>(query: Option<&str>) -> Result<T, XrpcError> {
    decode_query(query)
}

//! The way of a call: name, verb, caller, quota, body, handler, answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use http::request::Parts as Head;
use http::{Method, Response};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Settings;
use super::answer::{PORTION, json_response};
use super::body::{ReadBody, announced, check_form, collect};
use super::context::{Context, Parts};
use super::dispatch::{self, Answer};
use super::once::{Attempt, once};
use super::turns::Turns;
use crate::auth::SecondLook;
use crate::limits::{Decision, Limits, ProvedHere};
use crate::refusal::{unavailable, wrong_method};
use crate::runtime::{Live, Shutdown};
use crate::store::Nonce;
use crate::types::{ClientIp, Kind, Nsid, Pseudonym};
use crate::wire::calls::NoInput;
use crate::wire::{Body, XrpcError, XrpcStatus, decode_query};

/// Every call that is a request and an answer. Clones share everything.
#[derive(Clone)]
pub struct Calls {
    parts: Arc<Parts>,
    turns: Arc<Turns>,
    limits: Limits,
    settings: Live<Settings>,
    shutdown: Shutdown,
}

/// What was found out about a request on its way, however it ends.
#[derive(Default)]
struct Known {
    /// What the log calls the account by.
    account: Option<Pseudonym>,
    quota: Option<Decision>,
}

impl Calls {
    pub fn new(parts: Parts, limits: Limits, settings: Live<Settings>, shutdown: Shutdown) -> Self {
        Self {
            turns: Arc::new(Turns::new(&parts.store)),
            parts: Arc::new(parts),
            limits,
            settings,
            shutdown,
        }
    }

    /// Answers one request for a call.
    pub async fn call(
        &self,
        call: Nsid,
        request: (&Head, &mut Incoming),
        client: ClientIp,
    ) -> Response<Body> {
        let begun = Instant::now();
        let mut known = Known::default();
        let response = self.admit(call, request, client, &mut known).await;
        let mut response = response.unwrap_or_else(|error| {
            metrics::counter!("relay_calls_refused_total",
                "call" => call.name(), "error" => error.name,
                "status" => (error.status as u16).to_string())
            .increment(1);
            if error.status == XrpcStatus::Internal {
                tracing::warn!(call = call.name(), "a call failed by our fault");
            }
            error.into_response()
        });
        tracing::debug!(
            call = call.name(),
            status = response.status().as_u16(),
            client = %client.redacted(),
            account = known.account.map(tracing::field::display),
            "answered"
        );
        let quota = known
            .quota
            .filter(|quota| quota.tells_of(response.status()));
        if let Some(decision) = quota {
            decision.write_headers(response.headers_mut(), self.limits.clock().unix());
        }
        metrics::histogram!("relay_call_seconds", "call" => call.name())
            .record(begun.elapsed().as_secs_f64());
        response
    }

    async fn admit(
        &self,
        call: Nsid,
        (request, body): (&Head, &mut Incoming),
        client: ClientIp,
        known: &mut Known,
    ) -> Result<Response<Body>, XrpcError> {
        check_verb(call, &request.method)?;
        let counted = request.extensions.get::<Decision>();
        let look = SecondLook::unless(counted.is_some_and(Decision::is_by_word_alone));
        let auth = &self.parts.auth;
        let proof = auth.prove(&request.headers, call, client, look).await?;
        let nonce = self.deferred(call, proof.nonce).await?;
        let caller = proof.caller;
        // The edge counted the request against its address; now an account answers
        // for it instead.
        if let Some(counted) = counted {
            self.limits.proved(counted, client, caller.did());
        }
        if let Some(connection) = request.extensions.get::<ProvedHere>() {
            self.limits.proved_here(connection, caller.did());
        }
        known.account = Some(caller.did().redacted());
        let decision = self.limits.check_did(caller.did(), call);
        let admitted = decision.admit();
        known.quota = Some(decision);
        admitted?;
        if call.kind() == Kind::Query {
            self.limits.check_answer(caller.did())?;
        }
        let cx = Arc::new(Context {
            parts: Arc::clone(&self.parts),
            turns: Arc::clone(&self.turns),
            settings: self.settings.snapshot(),
            caller,
            nonce: Mutex::new(nonce),
            now: Utc::now(),
        });
        let answer = match call.kind() {
            Kind::Query => dispatch::query(call, &cx, request.uri.query()).await,
            Kind::Procedure | Kind::Subscription => self.procedure(call, &cx, request, body).await,
        };
        // A call that was refused before it wrote anything has used its token all the same.
        let unused = cx.nonce.lock().take();
        if let Some(nonce) = unused {
            self.parts.auth.use_up(nonce).await?;
        }
        let all = cx.settings.answers_bytes_max;
        let memory = || self.limits.memory_for_answer(cx.did(), all);
        let json = answer?;
        let bytes = json.len();
        let response = json_response(call, json, memory)?;
        if bytes > PORTION {
            self.limits.charge_answer(cx.did(), bytes as u64);
        }
        Ok(response)
    }

    /// Uses a nonce up, or leaves that to the call: a send does it with what it writes,
    /// so that it waits for one transaction and not for two.
    async fn deferred(&self, call: Nsid, nonce: Option<Nonce>) -> Result<Option<Nonce>, XrpcError> {
        if call == Nsid::SendMessage {
            return Ok(nonce);
        }
        if let Some(nonce) = nonce {
            self.parts.auth.use_up(nonce).await?;
        }
        Ok(None)
    }

    async fn procedure(
        &self,
        call: Nsid,
        cx: &Arc<Context>,
        request: &Head,
        body: &mut Incoming,
    ) -> Answer {
        let NoInput {} = decode_query(request.uri.query())?;
        let headers = &request.headers;
        let bytes_max = match call {
            Nsid::SendMessage => cx.settings.message_body_bytes_max,
            _ => cx.settings.body_bytes_max,
        };
        let all = cx.settings.bodies_bytes_max;
        let announced = announced(headers, body, bytes_max)?;
        self.limits.check_body(cx.did(), announced)?;
        let memory = self.limits.memory_for_body(cx.did(), all);
        let body = collect(body, memory, bytes_max, &self.settings).await?;
        // In pieces it tells its length with the last one.
        self.limits.charge_body(cx.did(), body.weight as u64)?;
        check_form(headers, body.bytes.is_empty())?;
        match Attempt::of(call, cx.did(), &body.bytes) {
            Some(attempt) => self.run_detached(call, Arc::clone(cx), attempt, body).await,
            None => dispatch::procedure(call, cx, &body.bytes).await,
        }
    }

    /// Runs a call that has a key to its end, though its client may go away meanwhile:
    /// whoever asks again under that key shall hear the answer, not wait for a lease.
    async fn run_detached(
        &self,
        call: Nsid,
        cx: Arc<Context>,
        attempt: Attempt,
        body: ReadBody,
    ) -> Answer {
        let (tell, told) = oneshot::channel();
        self.shutdown.spawn(async move {
            let run = dispatch::procedure(call, &cx, &body.bytes);
            // Nobody may be there any more to be told.
            let _ = tell.send(once(&cx, &attempt, run).await);
        });
        let lost = || unavailable("the call was broken off", Duration::from_secs(1));
        told.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// HEAD is for what changes nothing.
fn check_verb(call: Nsid, verb: &Method) -> Result<(), XrpcError> {
    let (allowed, is_allowed) = match call.kind() {
        Kind::Procedure => ("POST", verb == Method::POST),
        _ if call.is_safe() => ("GET, HEAD", verb == Method::GET || verb == Method::HEAD),
        _ => ("GET", verb == Method::GET),
    };
    match is_allowed {
        true => Ok(()),
        false => Err(wrong_method(allowed)),
    }
}

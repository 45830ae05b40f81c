//! From an HTTP request to a session: everything that can be refused is refused
//! here, with an HTTP status; then the connection changes hands.

use std::sync::Arc;

use http::request::Parts;
use http::{Method, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::event_stream::{EventStream, last_event_id};
use super::farewell::Farewells;
use super::handshake::Handshake;
use super::line::Line;
use super::serve::Session;
use super::socket::Socket;
use super::{Settings, Shared};
use crate::auth::{Authenticator, Caller, Proof, SecondLook, UnusedTicket};
use crate::events::{Hub, Subscriber};
use crate::limits::{Decision, Limits, ProvedHere, SocketPermit};
use crate::refusal::{Refusal, wrong_method};
use crate::runtime::{Held, Http1Io, Live, Shutdown, Transport};
use crate::types::{ClientIp, ConvoId, Cursor, Did, Nsid};
use crate::wire::calls::SubscribeConvoEvents;
use crate::wire::{Body, Framing, XrpcError, decode_query, invalid};

/// Opens sessions. Clones share everything.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    hub: Hub,
    authenticator: Authenticator,
    limits: Limits,
    shared: Arc<Shared>,
    shutdown: Shutdown,
}

/// A request that was granted.
struct Granted {
    caller: Caller,
    subscriber: Subscriber,
    cursor: Option<Cursor>,
    permit: SocketPermit,
}

/// What lets a client in, once.
enum Pass {
    Ticket(UnusedTicket),
    Token(Proof),
}

impl Pass {
    fn did(&self) -> &Did {
        match self {
            Self::Ticket(ticket) => ticket.caller.did(),
            Self::Token(proof) => proof.caller.did(),
        }
    }

    /// The one conversation that it is for; otherwise all of the caller's.
    fn convo(&self) -> Option<ConvoId> {
        match self {
            Self::Ticket(ticket) => ticket.convo.clone(),
            Self::Token(_) => None,
        }
    }
}

impl Sessions {
    pub fn new(
        hub: Hub,
        authenticator: Authenticator,
        limits: Limits,
        settings: Live<Settings>,
        shutdown: Shutdown,
    ) -> Self {
        let office = authenticator.clone();
        let farewells = Farewells::new(Box::new(move |caller, convo, reconnect_after| {
            let ticket = office.issue_resume_ticket(caller, convo, reconnect_after);
            ticket.ok().map(|ticket| ticket.token)
        }));
        Self(Arc::new(Inner {
            hub,
            authenticator,
            limits,
            shared: Arc::new(Shared::new(settings, farewells)),
            shutdown,
        }))
    }

    /// Answers a request for `subscribeConvoEvents`; the session goes on by itself.
    pub async fn subscribe(&self, mut parts: Parts, client: ClientIp) -> Response<Body> {
        let handshake = match Handshake::read(&parts) {
            Ok(handshake) => handshake,
            Err(error) => return error.into_response(),
        };
        let call = Nsid::SubscribeConvoEvents;
        match self.judge(&parts, call, client).await {
            Ok(granted) => {
                let response = handshake.grant();
                let held = parts.extensions.remove::<Held>();
                if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
                    self.open(upgrade, handshake.framing, granted, held);
                }
                response
            }
            Err(error) => refuse(error, client),
        }
    }

    /// Answers a request for `streamConvoEvents`: the answer goes on until the session
    /// ends. It counts as a socket wherever sockets are counted.
    pub async fn stream(&self, parts: Parts, client: ClientIp) -> Response<Body> {
        if parts.method != Method::GET {
            return wrong_method("GET").into_response();
        }
        let call = Nsid::StreamConvoEvents;
        match self.judge(&parts, call, client).await {
            Ok(granted) => {
                let kernel = parts.extensions.get().cloned();
                let (line, response) = EventStream::open(self.0.shared.settings.clone(), kernel);
                self.serve(line, granted, None);
                response
            }
            Err(error) => refuse(error, client),
        }
    }

    async fn judge(
        &self,
        parts: &Parts,
        call: Nsid,
        client: ClientIp,
    ) -> Result<Granted, XrpcError> {
        let mut asked: SubscribeConvoEvents = decode_query(parts.uri.query())?;
        if let (Nsid::StreamConvoEvents, Some(id)) = (call, last_event_id(&parts.headers)) {
            let cursor = Cursor::parse(id).map_err(|error| invalid("Last-Event-ID", error))?;
            asked.cursor = Some(cursor);
        }
        let authenticator = &self.0.authenticator;
        let counted = parts.extensions.get::<Decision>();
        let look = SecondLook::unless(counted.is_some_and(Decision::is_by_word_alone));
        let pass = match &asked.ticket {
            Some(ticket) => Pass::Ticket(authenticator.check_ticket(ticket.expose())?),
            None => {
                let proof = authenticator.prove(&parts.headers, call, client, look);
                Pass::Token(proof.await?)
            }
        };
        // The edge counted the request against its address; now an account answers
        // for it instead.
        if let Some(counted) = counted {
            self.0.limits.verified(counted);
        }
        let subscriber = Subscriber {
            did: pass.did().clone(),
            filter: one_convo(pass.convo(), asked.convo_id)?,
            hydrate: asked.hydrate.unwrap_or(false),
        };
        let permit = self.0.limits.admit_socket(client, pass.did())?;
        let has_news = self.0.hub.has_news_for(&subscriber, asked.cursor).await?;
        // Not before: a client that has to come back can, with the same. And not after anything
        // that the account would suffer for: anyone may show it a second time.
        let caller = match pass {
            Pass::Ticket(ticket) => authenticator.redeem(ticket).await?,
            Pass::Token(proof) => {
                if let Some(nonce) = proof.nonce {
                    authenticator.use_up(nonce).await?;
                }
                proof.caller
            }
        };
        self.0.limits.note_familiar(client, caller.did());
        if let Some(connection) = parts.extensions.get::<ProvedHere>() {
            self.0.limits.proved_here(connection, caller.did());
        }
        self.0.limits.admit_upgrade(caller.did())?;
        // A stream of one conversation is only for those who have something to hear of it. Said
        // when it has been counted, for Postgres was asked.
        if !has_news {
            return Err(Refusal::ConvoNotFound.into());
        }
        if subscriber.hydrate {
            self.0.limits.check_answer(caller.did())?;
        }
        Ok(Granted {
            caller,
            subscriber,
            cursor: asked.cursor,
            permit,
        })
    }

    fn open(&self, upgrade: OnUpgrade, framing: Framing, granted: Granted, held: Option<Held>) {
        let shared = Arc::clone(&self.0.shared);
        let sessions = self.clone();
        self.0.shutdown.spawn(async move {
            let patience = shared.settings.load().upgrade_timeout;
            let Ok(Ok(upgraded)) = timeout(patience, upgrade).await else {
                return;
            };
            let (stream, begun) = take_over(upgraded);
            let line = Socket::new(stream, begun, framing, shared.settings.clone());
            sessions.serve(line, granted, held);
        });
    }

    /// Begins a session, which goes on by itself.
    fn serve<L: Line>(&self, line: L, granted: Granted, held: Option<Held>) {
        // What the log calls the account by.
        let account = granted.caller.did().redacted();
        let resumes = granted.cursor.is_some();
        tracing::debug!(account = %account, resumes, "a session begins");
        let mut session = Session {
            line: Some(Box::new(line)),
            subscription: self.0.hub.subscribe(granted.subscriber, granted.cursor),
            permit: granted.permit,
            caller: granted.caller,
            shared: Arc::clone(&self.0.shared),
        };
        let shutdown = self.0.shutdown.clone();
        self.0.shutdown.spawn(async move {
            let reason = session.serve(&shutdown).await;
            tracing::debug!(account = %account, reason = reason.name(), "a session has ended");
            // The connection counts against its limits until here.
            if let Some(held) = held {
                held.end().await;
            }
        });
    }
}

fn refuse(error: XrpcError, client: ClientIp) -> Response<Body> {
    tracing::debug!(
        client = %client.redacted(),
        refusal = %error.name,
        "a session was refused"
    );
    error.into_response()
}

/// The connection itself, without what HTTP kept around it, and what of it was read
/// already. A stream of an HTTP/2 connection stays within that.
fn take_over(upgraded: Upgraded) -> (Transport, Vec<u8>) {
    match upgraded.downcast::<Http1Io>() {
        Ok(parts) => (parts.io.into_inner(), parts.read_buf.to_vec()),
        Err(upgraded) => (Box::new(TokioIo::new(upgraded)), Vec::new()),
    }
}

/// What a ticket allows and what the request asks for, together.
fn one_convo(
    granted: Option<ConvoId>,
    asked: Option<ConvoId>,
) -> Result<Option<ConvoId>, XrpcError> {
    match (granted, asked) {
        (Some(granted), Some(asked)) if granted != asked => Err(Refusal::ConvoNotFound.into()),
        (granted, asked) => Ok(granted.or(asked)),
    }
}

//! From an HTTP request to a session: everything that can be refused is refused
//! here, with an HTTP status; then the connection changes hands.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::handshake::Handshake;
use super::serve::Session;
use super::socket::Socket;
use super::{Meters, Settings};
use crate::auth::{Authenticator, Caller};
use crate::events::{Hub, Subscriber};
use crate::limits::{Decision, Limits, SocketPermit};
use crate::runtime::{Held, Live, Shutdown};
use crate::types::{ClientIp, ConvoId, Cursor, Nsid, Pseudonym};
use crate::wire::calls::SubscribeConvoEvents;
use crate::wire::{Body, XrpcError, XrpcStatus, decode_query};

/// Opens sessions. Clones share everything.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    hub: Hub,
    authenticator: Authenticator,
    limits: Limits,
    settings: Live<Settings>,
    meters: Arc<Meters>,
    shutdown: Shutdown,
}

/// A request that was granted.
struct Granted {
    /// What the log calls the account by.
    account: Pseudonym,
    handshake: Handshake,
    subscriber: Subscriber,
    cursor: Option<Cursor>,
    permit: SocketPermit,
}

impl Sessions {
    pub fn new(
        hub: Hub,
        authenticator: Authenticator,
        limits: Limits,
        settings: Live<Settings>,
        shutdown: Shutdown,
    ) -> Self {
        Self(Arc::new(Inner {
            hub,
            authenticator,
            limits,
            settings,
            meters: Arc::new(Meters::new()),
            shutdown,
        }))
    }

    /// Answers a request for `subscribeConvoEvents`; the session goes on by itself.
    pub async fn subscribe(&self, request: Request<Incoming>, client: ClientIp) -> Response<Body> {
        let (mut parts, _) = request.into_parts();
        match self.judge(&parts, client).await {
            Ok(granted) => {
                tracing::debug!(
                    account = %granted.account,
                    client = %client.redacted(),
                    resumes = granted.cursor.is_some(),
                    "a session begins"
                );
                let response = granted.handshake.grant();
                let held = parts.extensions.remove::<Held>();
                if let Some(upgrade) = parts.extensions.remove::<OnUpgrade>() {
                    self.open(upgrade, granted, held);
                }
                response
            }
            Err(error) => {
                tracing::debug!(
                    client = %client.redacted(),
                    refusal = %error.name,
                    "a session was refused"
                );
                error.into_response()
            }
        }
    }

    async fn judge(
        &self,
        parts: &http::request::Parts,
        client: ClientIp,
    ) -> Result<Granted, XrpcError> {
        let handshake = Handshake::read(parts)?;
        if self.0.shutdown.is_draining() {
            let message = "this node is going away";
            let error = XrpcError::new(XrpcStatus::Unavailable, "NotEnoughResources", message);
            return Err(error.retry_after(self.0.settings.load().reconnect_spread));
        }
        let asked: SubscribeConvoEvents = decode_query(parts.uri.query())?;
        let (caller, granted) = match &asked.ticket {
            Some(ticket) => {
                let grant = self.0.authenticator.redeem_ticket(ticket.expose()).await?;
                (grant.caller, grant.convo)
            }
            None => {
                let call = Nsid::SubscribeConvoEvents;
                let authenticator = &self.0.authenticator;
                let caller = authenticator.caller(&parts.headers, call, client).await?;
                (caller, None)
            }
        };
        // The edge counted the request against its address; now an account answers
        // for it instead.
        if let Some(counted) = parts.extensions.get::<Decision>() {
            self.0.limits.proved(counted, client, caller.did());
        }
        let permit = self.0.limits.admit_socket(client, caller.did())?;
        let filter = one_convo(granted, asked.convo_id)?;
        let subscriber = self.subscriber(&caller, filter, asked.cursor).await?;
        Ok(Granted {
            account: caller.did().redacted(),
            handshake,
            subscriber,
            cursor: asked.cursor,
            permit,
        })
    }

    /// A stream of one conversation is only for who has something to hear of it.
    async fn subscriber(
        &self,
        caller: &Caller,
        filter: Option<ConvoId>,
        cursor: Option<Cursor>,
    ) -> Result<Subscriber, XrpcError> {
        let did = caller.did().clone();
        let subscriber = Subscriber { did, filter };
        if self.0.hub.has_news_for(&subscriber, cursor).await? {
            Ok(subscriber)
        } else {
            Err(convo_not_found())
        }
    }

    fn open(&self, upgrade: OnUpgrade, granted: Granted, held: Option<Held>) {
        let settings = self.0.settings.snapshot();
        let meters = Arc::clone(&self.0.meters);
        let hub = self.0.hub.clone();
        let shutdown = self.0.shutdown.clone();
        self.0.shutdown.spawn(async move {
            let Ok(Ok(upgraded)) = timeout(settings.upgrade_timeout, upgrade).await else {
                return;
            };
            let mut session = Session {
                socket: Socket::new(TokioIo::new(upgraded), &settings).await,
                subscription: hub.subscribe(granted.subscriber, granted.cursor),
                framing: granted.handshake.framing,
                permit: granted.permit,
                settings,
                meters,
            };
            drop(hub);
            let reason = session.serve(&shutdown).await;
            tracing::debug!(
                account = %granted.account,
                reason = reason.name(),
                "a session has ended"
            );
            // The connection counts against its limits until here.
            drop(held);
        });
    }
}

/// What a ticket allows and what the request asks for, together.
fn one_convo(
    granted: Option<ConvoId>,
    asked: Option<ConvoId>,
) -> Result<Option<ConvoId>, XrpcError> {
    match (granted, asked) {
        (Some(granted), Some(asked)) if granted != asked => Err(convo_not_found()),
        (granted, asked) => Ok(granted.or(asked)),
    }
}

fn convo_not_found() -> XrpcError {
    let message = "there is no such conversation for this account";
    XrpcError::new(XrpcStatus::NotFound, "ConvoNotFound", message)
}

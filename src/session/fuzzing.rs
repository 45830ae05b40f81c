//! The way in for `fuzz/`: a session, as after its handshake.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::farewell::Farewells;
use super::serve::Session;
use super::socket::Socket;
use super::{Settings, Shared};
use crate::auth::Caller;
use crate::events::{Hub, Subscriber};
use crate::limits::Limits;
use crate::runtime::{Live, Shutdown};
use crate::types::{ClientIp, Did};
use crate::wire::{CloseReason, Framing};

/// Serves `did` over `stream`, of which `begun` came with the handshake, to its end. `None`:
/// it has no place.
pub async fn serve<S>(
    (stream, begun): (S, Vec<u8>),
    framing: Framing,
    (hub, limits): (&Hub, &Limits),
    (address, did): (ClientIp, &Did),
) -> Option<CloseReason>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let settings = Live::new(Settings::default());
    let farewells = Farewells::new(Box::new(|_, _, _| None));
    let stream = TokioIo::new(TokioIo::new(stream));
    let line = Socket::new(Box::new(stream), begun, framing, settings.clone());
    let subscriber = Subscriber {
        did: did.clone(),
        filter: None,
        hydrate: false,
    };
    let mut session = Session {
        line: Some(Box::new(line)),
        subscription: hub.subscribe(subscriber, None),
        permit: limits.admit_socket(address, did).ok()?,
        caller: Caller::assumed(did.expose()),
        shared: Arc::new(Shared::new(settings, farewells)),
    };
    Some(session.serve(&Shutdown::default()).await)
}

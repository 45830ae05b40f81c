//! A client's connection of HTTP/2.

use http_body_util::Empty;
use hyper::body::{Body, Bytes};
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use crate::relay::Relay;
use crate::tls::Client;

/// What sends requests, and what ends with the connection.
pub(crate) type Connection<B> = (conn::http2::SendRequest<B>, JoinHandle<hyper::Result<()>>);

pub(crate) async fn http2(relay: &Relay) -> Connection<Empty<Bytes>> {
    over(Client::http2(relay).connect(relay).await.unwrap()).await
}

/// To whoever is at the other end.
pub(crate) async fn over<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Connection<B>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static,
{
    let handshake = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    (sender, tokio::spawn(connection))
}

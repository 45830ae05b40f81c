//! Subscriptions by every way that leads to one: TLS with and without a proxy before it, plain
//! HTTP after a PROXY header, and HTTP/2.

use http::StatusCode;
use hyper_util::rt::TokioIo;
use mls_relay::types::Nsid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{CLIENTS, Cast, PATIENCE, PROXY, Stage, frames};
use crate::http2;
use crate::websocket::{extended_connect, opened, upgrade};

impl Stage {
    pub(super) async fn sockets_are_used_and_misused(&mut self, cast: &Cast) {
        let good = frames::good(&cast.convo);
        let mut socket = self.socket(cast).await;
        socket.write_all(&good).await.unwrap();
        hears(&mut socket, "#pong").await;
        for (what, said) in frames::bad() {
            let mut socket = self.socket(cast).await;
            // It may be closed before all of it is written.
            let _ = socket.write_all(&said).await;
            ends(&mut socket, what).await;
        }
        for client in CLIENTS {
            let mut socket = self.forwarded(cast, client).await;
            socket.write_all(&good).await.unwrap();
            hears(&mut socket, "#pong").await;
            let mut socket = self.plain(cast, client).await;
            socket.write_all(&good).await.unwrap();
            hears(&mut socket, "#pong").await;
        }
        let mut socket = self.over_http_2(cast).await;
        socket.write_all(&good).await.unwrap();
        hears(&mut socket, "#pong").await;
    }

    /// An upgrade with these headers more.
    fn upgrade(&mut self, cast: &Cast, headers: &str) -> String {
        let call = Nsid::SubscribeConvoEvents.as_str();
        let token = self.token(&cast.accounts[1], call);
        upgrade(
            &format!("/xrpc/{call}?convoId={}", cast.convo),
            &token,
            headers,
        )
    }

    async fn socket(&mut self, cast: &Cast) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let mut stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        opened(&mut stream, &self.upgrade(cast, "")).await;
        stream
    }

    /// Through a proxy that ends TLS and begins it anew.
    async fn forwarded(
        &mut self,
        cast: &Cast,
        client: &str,
    ) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let proxied = self.relay.from_source(PROXY);
        let mut stream = proxied.connect(&[b"http/1.1"]).await.unwrap();
        let upgrade = self.upgrade(cast, &format!("x-forwarded-for: {client}\r\n"));
        opened(&mut stream, &upgrade).await;
        stream
    }

    /// Through a proxy that speaks plain HTTP, and says first whom it speaks for.
    async fn plain(&mut self, cast: &Cast, client: &str) -> TcpStream {
        let mut stream = self.proxy_connects().await;
        let (family, own) = match client.contains(':') {
            true => ("TCP6", "::1"),
            false => ("TCP4", "127.0.0.1"),
        };
        let header = format!("PROXY {family} {client} {own} 4711 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        opened(&mut stream, &self.upgrade(cast, "")).await;
        stream
    }

    /// A connection of the proxy's to the plain listener.
    pub(super) async fn proxy_connects(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((PROXY, 0).into()).unwrap();
        socket.connect(self.plain).await.unwrap()
    }

    async fn over_http_2(&mut self, cast: &Cast) -> impl AsyncRead + AsyncWrite + Unpin + use<> {
        let call = Nsid::SubscribeConvoEvents.as_str();
        let token = self.token(&cast.accounts[1], call);
        let stream = self.relay.connect(&[b"h2"]).await.unwrap();
        let (mut sender, _connection) = http2::over(stream).await;
        let request = extended_connect(format!("https://localhost/xrpc/{call}"), &token);
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        // The connection ends with its last sender, so this one stays with the socket.
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            drop(sender);
        });
        TokioIo::new(upgraded)
    }
}

/// Reads until this has come.
pub(super) async fn hears(stream: &mut (impl AsyncRead + Unpin), wanted: &str) {
    let mut heard = Vec::new();
    let listening = async {
        while !heard.windows(wanted.len()).any(|w| w == wanted.as_bytes()) {
            if stream.read_buf(&mut heard).await.unwrap() == 0 {
                break;
            }
        }
    };
    let in_time = timeout(PATIENCE, listening).await.is_ok();
    let heard = String::from_utf8_lossy(&heard);
    assert!(in_time && heard.contains(wanted), "{wanted}: {heard}");
}

/// Reads until the other end closes, however it does that.
pub(super) async fn ends(stream: &mut (impl AsyncRead + Unpin), what: &str) {
    let mut rest = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    assert!(end.is_ok(), "still open: {what}");
}

//! One WebSocket subscription over TLS, as a phone holds it: it remembers the
//! cursor of the last event it was given, and it can vanish from the network.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::header::{AUTHORIZATION, HOST, SEC_WEBSOCKET_PROTOCOL};
use hyper::http::request;
use hyper::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::frame::{BadFrame, ErrorBody, Event, Frame, Framing, JSON_SUBPROTOCOL};
use crate::frame::{decode_cbor, decode_json};
use crate::identity::{Account, IdentityError};
use crate::relay::{ConnectError, Relay};
use crate::xrpc_client::{NAMESPACE, TOKEN_LIFE, query};

const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// An event is a few hundred bytes; a hydrated one holds a message.
const LONGEST_FRAME: usize = 16 * 1024 * 1024;

/// Small, since thousands of clients live in one load generator.
const READ_BUFFER: usize = 1024;

/// What to subscribe to.
#[derive(Clone, Debug)]
pub struct Subscribe {
    pub framing: Framing,
    /// Resume strictly after this event; without it, only what is new.
    pub cursor: Option<String>,
    /// Only this conversation, instead of all of the account's.
    pub convo: Option<String>,
}

impl Subscribe {
    /// To all that is new.
    pub fn to_all(framing: Framing) -> Self {
        Self {
            framing,
            cursor: None,
            convo: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the relay refused the subscription with status {0}")]
    Refused(StatusCode),
    #[error("the relay did not answer the upgrade in time")]
    Deadline,
    #[error("the relay ended the stream: {}: {}", .0.error, .0.message)]
    Ended(ErrorBody),
    #[error("the connection is gone")]
    Gone(#[source] Box<WsError>),
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    #[error("cannot sign a token")]
    Token(#[from] IdentityError),
}

impl From<WsError> for SubscriptionError {
    fn from(error: WsError) -> Self {
        match error {
            WsError::Http(response) => Self::Refused(response.status()),
            other => Self::Gone(Box::new(other)),
        }
    }
}

/// An open subscription.
#[derive(Debug)]
pub struct Subscription {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    cursor: Option<String>,
}

impl Subscription {
    /// Connects, proves who we are, and upgrades.
    pub async fn open(
        relay: &Arc<Relay>,
        account: &Account,
        subscribe: Subscribe,
    ) -> Result<Self, SubscriptionError> {
        let call = format!("{NAMESPACE}.subscribeConvoEvents");
        let token = account.service_token(relay.service_did(), &call, TOKEN_LIFE)?;
        let request = request(relay, &subscribe, None)?
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(())?;
        Self::upgrade(relay, request, subscribe).await
    }

    /// Connects and upgrades with a ticket, and with nothing else.
    pub async fn resume(
        relay: &Arc<Relay>,
        ticket: &str,
        subscribe: Subscribe,
    ) -> Result<Self, SubscriptionError> {
        let request = request(relay, &subscribe, Some(ticket))?.body(())?;
        Self::upgrade(relay, request, subscribe).await
    }

    async fn upgrade(
        relay: &Arc<Relay>,
        request: Request<()>,
        subscribe: Subscribe,
    ) -> Result<Self, SubscriptionError> {
        let stream = relay.connect(&[b"http/1.1"]).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .max_frame_size(Some(LONGEST_FRAME))
            .max_message_size(Some(LONGEST_FRAME));
        let upgrade = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
        let (socket, _) = timeout(UPGRADE_TIMEOUT, upgrade)
            .await
            .map_err(|_| SubscriptionError::Deadline)??;
        Ok(Self {
            socket,
            cursor: subscribe.cursor,
        })
    }

    /// The next event or notice. Safe to cancel. None when the relay has closed
    /// the stream in good order.
    pub async fn next(&mut self) -> Result<Option<Event>, SubscriptionError> {
        while let Some(message) = self.socket.next().await {
            let frame = match message? {
                Message::Binary(bytes) => decode_cbor(&bytes)?,
                Message::Text(text) => decode_json(&text)?,
                Message::Close(_) => return Ok(None),
                // tungstenite answers pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            match frame {
                Frame::Event(event) => {
                    // Events have a place, and so have #synced and #gap.
                    if event.body.cursor.is_some() {
                        self.cursor.clone_from(&event.body.cursor);
                    }
                    return Ok(Some(event));
                }
                Frame::Error(error) => return Err(SubscriptionError::Ended(error)),
                Frame::Unknown => {}
            }
        }
        Ok(None)
    }

    /// Says something to the relay, in text.
    pub async fn say(&mut self, text: &str) -> Result<(), SubscriptionError> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Where to resume after this connection.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Vanishes, as a phone in a tunnel does: no WebSocket close, no TLS
    /// close_notify, and a reset when the relay writes. Gives the cursor back.
    pub fn drop_connection(self) -> io::Result<Option<String>> {
        let (tcp, _) = self.socket.get_ref().get_ref();
        tcp.set_zero_linger()?;
        Ok(self.cursor)
    }

    /// Says goodbye and waits for nothing.
    pub async fn close(mut self) -> Result<(), SubscriptionError> {
        self.socket.close(None).await?;
        Ok(self.socket.flush().await?)
    }
}

fn request(
    relay: &Relay,
    subscribe: &Subscribe,
    ticket: Option<&str>,
) -> Result<request::Builder, SubscriptionError> {
    let parameters = [
        ("cursor", subscribe.cursor.as_deref()),
        ("convoId", subscribe.convo.as_deref()),
        ("ticket", ticket),
    ];
    let query = query(
        parameters
            .iter()
            .filter_map(|(name, value)| Some((*name, (*value)?))),
    );
    let authority = relay.authority();
    let mut request = Request::builder()
        .uri(format!(
            "wss://{authority}/xrpc/{NAMESPACE}.subscribeConvoEvents?{query}"
        ))
        .header(HOST, authority)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", generate_key());
    if subscribe.framing == Framing::Json {
        request = request.header(SEC_WEBSOCKET_PROTOCOL, JSON_SUBPROTOCOL);
    }
    Ok(request)
}

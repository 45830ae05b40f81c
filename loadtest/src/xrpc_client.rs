//! XRPC calls of one account: keep-alive connections over HTTP/1.1 or HTTP/2, a
//! fresh service token a call, and the relay's error envelope as a typed error.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use crate::identity::{Account, IdentityError};
use crate::relay::{ConnectError, Relay};

/// The family of calls that this client knows.
pub const NAMESPACE: &str = "blue.catbird.mls";

/// A token need only outlive its call.
pub const TOKEN_LIFE: Duration = Duration::from_secs(60);

const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest answer we read: a page of the largest messages stays below it.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// The HTTP version that a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HttpVersion {
    One,
    /// Where the other end does: nginx has only HTTP/1.1 unless it is told otherwise.
    Two,
}

#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The relay answered, and said no.
    #[error("{call}: {status} {name}: {message}")]
    Refused {
        call: String,
        status: StatusCode,
        name: String,
        message: String,
        retry_after: Option<Duration>,
    },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the connection failed during the call")]
    Http(#[from] hyper::Error),
    #[error("the call took too long")]
    Deadline,
    #[error("{call}: the answer is not what the call promises")]
    Answer { call: String },
    #[error("the request cannot be written")]
    Request(#[from] hyper::http::Error),
    #[error("cannot sign a token")]
    Token(#[from] IdentityError),
}

impl CallError {
    /// The name in the error envelope, if the relay answered with one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Refused { name, .. } => Some(name),
            _ => None,
        }
    }

    /// Whether the call surely had no effect.
    pub fn is_definite(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.is_client_error())
    }

    fn answer(call: &str) -> Self {
        Self::Answer {
            call: call.to_owned(),
        }
    }
}

/// `{error, message}`, the body of every refusal.
#[derive(Deserialize)]
struct Envelope {
    error: String,
    #[serde(default)]
    message: String,
}

/// A client of one relay that speaks for one account.
#[derive(Debug)]
pub struct XrpcClient {
    relay: Arc<Relay>,
    account: Arc<Account>,
    version: HttpVersion,
    /// Connections that no call is using.
    idle: Mutex<Vec<Connection>>,
}

#[derive(Debug)]
enum Connection {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl XrpcClient {
    pub fn new(relay: Arc<Relay>, account: Arc<Account>, version: HttpVersion) -> Self {
        Self {
            relay,
            account,
            version,
            idle: Mutex::default(),
        }
    }

    pub fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// A query: `GET` with parameters. A parameter may come more than once.
    pub async fn query<T: DeserializeOwned>(
        &self,
        call: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, CallError> {
        let query = query(parameters.iter().copied());
        let path = format!("/xrpc/{NAMESPACE}.{call}?{query}");
        self.call(call, Method::GET, &path, Bytes::new()).await
    }

    /// A procedure: `POST` with a JSON body.
    pub async fn procedure<T: DeserializeOwned>(
        &self,
        call: &str,
        input: &Value,
    ) -> Result<T, CallError> {
        let path = format!("/xrpc/{NAMESPACE}.{call}");
        let body = Bytes::from(input.to_string());
        self.call(call, Method::POST, &path, body).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, CallError> {
        let exchange = async {
            let request = self.request(call, method, path, body)?;
            let (connection, response) = self.send(request).await?;
            let status = response.status();
            let retry_after = retry_after(&response);
            let answer = Limited::new(response.into_body(), LONGEST_ANSWER)
                .collect()
                .await
                .map_err(|_| CallError::answer(call))?
                .to_bytes();
            self.keep(connection);
            if status.is_success() {
                return serde_json::from_slice(&answer).map_err(|_| CallError::answer(call));
            }
            let envelope: Envelope =
                serde_json::from_slice(&answer).map_err(|_| CallError::answer(call))?;
            Err(CallError::Refused {
                call: call.to_owned(),
                status,
                name: envelope.error,
                message: envelope.message,
                retry_after,
            })
        };
        timeout(CALL_TIMEOUT, exchange)
            .await
            .map_err(|_| CallError::Deadline)?
    }

    fn request(
        &self,
        call: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let token = self.account.service_token(
            self.relay.service_did(),
            &format!("{NAMESPACE}.{call}"),
            TOKEN_LIFE,
        )?;
        let request = Request::builder()
            .method(method.clone())
            .uri(format!("https://{}{path}", self.relay.authority()));
        let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        let request = match method {
            Method::POST => request.header(CONTENT_TYPE, "application/json"),
            _ => request,
        };
        Ok(request.body(Full::new(body))?)
    }

    /// Sends a request on some connection. One that closes before it has taken the request,
    /// as a relay's does that goes away, leaves it to the next (RFC 9110 section 9.2.2).
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Connection, Response<Incoming>), CallError> {
        loop {
            let mut connection = self.connection().await?;
            match connection.send(request.clone()).await {
                Ok(response) => return Ok((connection, response)),
                Err(mut failed) => {
                    let is_unsent = failed.take_message().is_some();
                    if !is_unsent && !crossed_with_goaway(failed.error()) {
                        return Err(failed.into_error().into());
                    }
                }
            }
        }
    }

    /// A connection that is idle, or a new one.
    async fn connection(&self) -> Result<Connection, CallError> {
        loop {
            let idle = self.lock().pop();
            match idle {
                Some(mut connection) => {
                    if connection.ready().await {
                        return Ok(connection);
                    }
                }
                None => return self.connect().await,
            }
        }
    }

    async fn connect(&self) -> Result<Connection, CallError> {
        let offered: &[&[u8]] = match self.version {
            HttpVersion::One => &[b"http/1.1"],
            HttpVersion::Two => &[b"h2", b"http/1.1"],
        };
        let stream = self.relay.connect(offered).await?;
        let is_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let stream = TokioIo::new(stream);
        // A connection that breaks tells the call that uses it.
        if is_two {
            let (sender, driver) = http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(driver);
            Ok(Connection::Two(sender))
        } else {
            let (sender, driver) = http1::handshake(stream).await?;
            tokio::spawn(driver);
            Ok(Connection::One(sender))
        }
    }

    fn keep(&self, connection: Connection) {
        self.lock().push(connection);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Two(sender) => sender.ready().await.is_ok(),
        }
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        match self {
            Self::One(sender) => sender.try_send_request(by_path(request)).await,
            Self::Two(sender) => sender.try_send_request(request).await,
        }
    }
}

/// The request as HTTP/1.1 writes it, with the host in a header.
fn by_path<T>(mut request: Request<T>) -> Request<T> {
    let uri = std::mem::take(request.uri_mut()).into_parts();
    let host = uri
        .authority
        .map(|host| HeaderValue::from_str(host.as_str()));
    if let Some(Ok(host)) = host {
        request.headers_mut().insert(HOST, host);
    }
    *request.uri_mut() = uri.path_and_query.map(Uri::from).unwrap_or_default();
    request
}

/// Whether the relay says that it has not begun with the request, since it goes away (RFC 9113
/// section 6.8).
fn crossed_with_goaway(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &h2::Error| {
        cause.is_go_away() && cause.is_remote() && cause.reason() == Some(h2::Reason::NO_ERROR)
    })
}

fn retry_after<T>(response: &Response<T>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Parameters as a query string writes them.
pub(crate) fn query<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters).finish()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::identity::Curve;
    use crate::stand_in::stand_in;

    #[tokio::test]
    async fn where_the_other_end_has_no_http_2_a_call_is_made_over_http_1() {
        let (listener, mut tls, relay) = stand_in().await;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let authority = relay.authority();
        let asked = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            let mut stream = acceptor.accept(tcp).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
            stream.write_all(answer).await.unwrap();
            String::from_utf8(head).unwrap()
        });
        let account = Arc::new(Account::generate(Curve::P256).unwrap());
        let client = XrpcClient::new(Arc::new(relay), account, HttpVersion::Two);
        client
            .query::<Value>("getConvos", &[("limit", "1")])
            .await
            .unwrap();
        let asked = asked.await.unwrap();
        let line = "GET /xrpc/blue.catbird.mls.getConvos?limit=1 HTTP/1.1\r\n";
        assert!(asked.starts_with(line), "{asked}");
        assert!(asked.contains(&format!("host: {authority}\r\n")), "{asked}");
    }

    /// How a request over HTTP/2 fails whose other end answers with these bytes.
    async fn failure(answer: &[u8]) -> hyper::Error {
        let (ours, mut theirs) = duplex(1 << 10);
        let client = http2::handshake(TokioExecutor::new(), TokioIo::new(ours)).await;
        let (mut sender, driver) = client.unwrap();
        tokio::spawn(driver);
        let request = Request::new(Full::new(Bytes::new()));
        let exchange = tokio::spawn(async move { sender.send_request(request).await });
        // The preface and the settings, which the request follows.
        theirs.read_exact(&mut [0; 64]).await.unwrap();
        theirs.write_all(answer).await.unwrap();
        drop(theirs);
        exchange.await.unwrap().unwrap_err()
    }

    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

    #[tokio::test]
    async fn a_request_is_sent_again_only_if_the_relay_goes_away_without_having_begun() {
        let goaway = |last, reason| {
            let head = [0, 0, 8, 7, 0, 0, 0, 0, 0];
            [SETTINGS, &head, &[0, 0, 0, last], &[0, 0, 0, reason]].concat()
        };
        assert!(crossed_with_goaway(&failure(&goaway(0, 0)).await));
        // The request may have been the reason.
        assert!(!crossed_with_goaway(&failure(&goaway(0, 2)).await));
        // The first stream was begun, and the connection broke.
        assert!(!crossed_with_goaway(&failure(&goaway(1, 0)).await));
    }
}

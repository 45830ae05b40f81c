//! A competent relay of the usual design, as a process of its own: the same HTTP, TLS and
//! WebSocket crates, the same tables, and tokens checked against keys it knows. Each send
//! is a transaction on a connection of its pool, one connection listens, and what it
//! hears goes to the sockets. It orders nothing, uses up no nonces and has no limits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, SEC_WEBSOCKET_KEY};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use crate::usual::{Send, USUAL_CHANNEL, Usual};

/// The accounts and their public keys, which a relay would have in a cache.
pub(crate) const NAIVE_SCHEMA: &str =
    "CREATE TABLE naive_accounts (did text PRIMARY KEY, key bytea)";

struct Naive {
    pool: Pool,
    accounts: HashMap<String, Vec<u8>>,
    reader: tokio_postgres::Client,
    sockets: Mutex<HashMap<String, Vec<mpsc::Sender<Utf8Bytes>>>>,
}

/// Connections that are free.
struct Pool {
    free: Mutex<Vec<Usual>>,
    permits: tokio::sync::Semaphore,
}

impl Pool {
    async fn send(&self, send: &Send<'_>) -> Option<i64> {
        let _permit = self.permits.acquire().await.unwrap();
        let connection = self.free.lock().pop().unwrap();
        let sent = connection.send(send).await.unwrap();
        self.free.lock().push(connection);
        sent
    }
}

/// Serves until it is killed. Writes its certificate where it is told, then its port to
/// standard output.
pub(crate) async fn serve(url: &str, pool: usize, certificate: &Path) {
    let acceptor = identity(certificate);
    let mut free = Vec::new();
    for _ in 0..pool {
        free.push(Usual::connect(url).await);
    }
    let (reader, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = reader.query("SELECT did, key FROM naive_accounts", &[]);
    let rows = rows.await.unwrap();
    let naive = Arc::new(Naive {
        pool: Pool {
            free: Mutex::new(free),
            permits: tokio::sync::Semaphore::new(pool),
        },
        accounts: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        reader,
        sockets: Mutex::default(),
    });
    let (listener, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let hub = Arc::clone(&naive);
    tokio::spawn(async move {
        while let Some(message) =
            std::future::poll_fn(|context| connection.poll_message(context)).await
        {
            if let AsyncMessage::Notification(heard) = message.unwrap() {
                hub.deliver(heard.payload());
            }
        }
    });
    let listen = format!("LISTEN {USUAL_CHANNEL}");
    listener.batch_execute(&listen).await.unwrap();

    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        tokio::spawn(connected(Arc::clone(&naive), acceptor.clone(), tcp));
    }
}

async fn connected(naive: Arc<Naive>, acceptor: TlsAcceptor, tcp: TcpStream) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let service = service_fn(|request| naive.answer(request));
    // Whoever hangs up has nothing to be told.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await;
}

type Answer = Response<Full<Bytes>>;

impl Naive {
    fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Answer, Infallible>> + use<> {
        let naive = Arc::clone(self);
        async move {
            if request.uri().path() == "/xrpc/_health" {
                return Ok(answer(StatusCode::OK, r#"{"version":"naive"}"#.to_owned()));
            }
            let Some(caller) = naive.caller(&request) else {
                return Ok(answer(StatusCode::UNAUTHORIZED, String::new()));
            };
            Ok(match request.headers().contains_key(SEC_WEBSOCKET_KEY) {
                true => naive.subscribe(&caller, request).await,
                false => naive.append(&caller, request).await,
            })
        }
    }

    /// The account whose key has signed the token.
    fn caller(&self, request: &Request<Incoming>) -> Option<String> {
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
            exp: u64,
        }
        let token = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let (signed, signature) = token.strip_prefix("Bearer ")?.rsplit_once('.')?;
        let (_, claims) = signed.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        let now = mls_relay_loadtest::identity::unix_seconds();
        let key = self
            .accounts
            .get(&claims.iss)
            .filter(|_| claims.exp > now)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?)
            .ok()?;
        Some(claims.iss)
    }

    async fn append(&self, caller: &str, request: Request<Incoming>) -> Answer {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Input<'a> {
            convo_id: &'a str,
            msg_id: &'a str,
            epoch: i64,
            ciphertext: Ciphertext<'a>,
        }
        #[derive(Deserialize)]
        struct Ciphertext<'a> {
            #[serde(rename = "$bytes")]
            bytes: &'a str,
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let input: Input<'_> = serde_json::from_slice(&body).unwrap();
        let ciphertext = STANDARD_NO_PAD.decode(input.ciphertext.bytes).unwrap();
        let send = Send {
            convo: input.convo_id,
            sender: caller,
            id: input.msg_id,
            epoch: input.epoch,
            ciphertext: &ciphertext,
        };
        match self.pool.send(&send).await {
            Some(seq) => {
                let body = format!(r#"{{"messageId":"{}","seq":{seq}}}"#, input.msg_id);
                answer(StatusCode::OK, body)
            }
            None => answer(StatusCode::FORBIDDEN, String::new()),
        }
    }

    async fn subscribe(&self, caller: &str, mut request: Request<Incoming>) -> Answer {
        let sql = "SELECT convo_id FROM members WHERE user_did = $1 AND left_seq IS NULL";
        let convos = self.reader.query(sql, &[&caller]).await.unwrap();
        let (sender, frames) = mpsc::channel(FRAMES_MAX);
        for row in convos {
            let mut sockets = self.sockets.lock();
            sockets.entry(row.get(0)).or_default().push(sender.clone());
        }
        sender.try_send(SYNCED.into()).unwrap();
        let key = request.headers()[SEC_WEBSOCKET_KEY].as_bytes();
        let response = Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Accept", derive_accept_key(key))
            .header(
                "Sec-WebSocket-Protocol",
                mls_relay_loadtest::frame::JSON_SUBPROTOCOL,
            );
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            let config = WebSocketConfig::default().read_buffer_size(1024);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config));
            stream_to(socket.await, frames).await;
        });
        response.body(Full::default()).unwrap()
    }

    /// An event goes to the sockets of its conversation; one that does not keep up is
    /// forgotten.
    fn deliver(&self, payload: &str) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Routed<'a> {
            convo_id: &'a str,
        }
        let routed: Routed<'_> = serde_json::from_str(payload).unwrap();
        let frame = format!(r##"{{"op":1,"t":"#messageEvent","body":{payload}}}"##);
        let frame = Utf8Bytes::from(frame);
        if let Some(sockets) = self.sockets.lock().get_mut(routed.convo_id) {
            sockets.retain(|socket| socket.try_send(frame.clone()).is_ok());
        }
    }
}

/// Writes what there is and flushes once.
async fn stream_to<S>(mut socket: WebSocketStream<S>, mut frames: mpsc::Receiver<Utf8Bytes>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let mut next = frame;
                while let Some(frame) = next {
                    if socket.feed(Message::Text(frame)).await.is_err() {
                        return;
                    }
                    next = frames.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
            message = socket.next() => if !matches!(message, Some(Ok(_))) {
                return;
            },
        }
    }
}

fn answer(status: StatusCode, body: String) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
}

fn identity(certificate: &Path) -> TlsAcceptor {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(certificate, key.cert.pem()).unwrap();
    let private = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], PrivateKeyDer::from(private))
        .unwrap();
    TlsAcceptor::from(Arc::new(tls))
}

/// Frames that wait for a socket.
const FRAMES_MAX: usize = 4096;
const SYNCED: &str = r##"{"op":1,"t":"#synced","body":{}}"##;

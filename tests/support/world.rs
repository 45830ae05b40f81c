//! A relay behind its own TLS edge, with a real Postgres and a directory of real
//! keys; and accounts that speak to it by the lexicons.

#[path = "node.rs"]
mod node;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use mls_relay::blocks;
use mls_relay::limits;
use mls_relay::store::Store;
use mls_relay::xrpc;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay::Relay;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::database::Database;
use crate::event_stream::EventStream;
use crate::lexicon::Lexicons;
use crate::relay::{path, token};
use crate::wording;
use node::Node;

/// What a test may want otherwise than it usually is.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) xrpc: xrpc::Settings,
    pub(crate) quotas: limits::Calls,
    pub(crate) blocks: blocks::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            xrpc: xrpc::Settings::default(),
            // No test meets them that is not about them.
            quotas: limits::Calls {
                add_members: 1000,
                create_convo: 1000,
                publish_key_package: 1000,
                remove_member: 1000,
                report_member: 1000,
                send_ephemeral: 1000,
                send_message: 1000,
                ..limits::Settings::default().calls
            },
            blocks: blocks::Settings::default(),
        }
    }
}

/// Everything that one test needs. Ends with the test.
pub(crate) struct World {
    pub(crate) relay: Arc<Relay>,
    pub(crate) directory: Directory,
    pub(crate) lexicons: Arc<Lexicons>,
    pub(crate) store: Store,
    pub(crate) database: Database,
    settings: Settings,
    _node: Node,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// A world in which something is otherwise.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::default();
        change(&mut settings);
        let database = Database::start().await;
        let directory = Directory::start().await.unwrap();
        let node = Node::start(&database, &directory, settings.clone()).await;
        Self {
            relay: Arc::clone(&node.relay),
            directory,
            lexicons: Arc::new(Lexicons::load()),
            store: node.store.clone(),
            database,
            settings,
            _node: node,
        }
    }

    /// One more node on the same database.
    pub(crate) async fn another_node(&self) -> Node {
        Node::start(&self.database, &self.directory, self.settings.clone()).await
    }

    /// A stream that is live, and hears what comes now. Without a place to begin at, it would
    /// also hear what is there and its node has not been told yet.
    pub(crate) async fn live(&self, client: &Client) -> EventStream {
        let head = self.store.ends().await.unwrap().head.get().to_string();
        let mut stream = EventStream::open(client, &[("cursor", &head)]).await;
        assert_eq!(stream.next().await.unwrap().name(), "#synced");
        stream
    }

    /// A new account, known to the directory.
    pub(crate) fn account(&self) -> Client {
        let account = self.directory.account(Curve::Secp256k1).unwrap();
        Client {
            account: Arc::new(account),
            relay: Arc::clone(&self.relay),
            lexicons: Arc::clone(&self.lexicons),
        }
    }
}

/// One account at the other end.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) account: Arc<Account>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) lexicons: Arc<Lexicons>,
}

/// What a refusal said.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Refused {
    pub(crate) fn told(&self) -> (u16, &str) {
        (self.status.as_u16(), &self.name)
    }
}

impl Client {
    pub(crate) fn did(&self) -> &str {
        self.account.did()
    }

    /// A procedure that must succeed, within the lexicon both ways.
    pub(crate) async fn post(&self, call: &str, input: &Value) -> Value {
        let faults = self.lexicons.input_faults(call, input);
        assert!(faults.is_empty(), "{call} was sent {faults:?}");
        let (status, _, answer) = self.exchange(self.post_request(call, input)).await;
        assert_eq!(status, StatusCode::OK, "{call}: {answer}");
        let faults = self.lexicons.output_faults(call, &answer);
        assert!(faults.is_empty(), "{call} answered {faults:?}");
        answer
    }

    /// A query that must succeed, within the lexicon.
    pub(crate) async fn get(&self, call: &str, parameters: &[(&str, &str)]) -> Value {
        let request = self.get_request(call, parameters);
        let (status, _, answer) = self.exchange(request).await;
        assert_eq!(status, StatusCode::OK, "{call}: {answer}");
        let faults = self.lexicons.output_faults(call, &answer);
        assert!(faults.is_empty(), "{call} answered {faults:?}");
        answer
    }

    /// The seats of the conversation that was founded last.
    pub(crate) async fn seats(&self) -> Vec<Value> {
        let listed = self.get("getConvos", &[]).await;
        let seats = listed["conversations"][0]["members"].as_array();
        seats.unwrap().clone()
    }

    /// A procedure that must be refused, by a name that the lexicon knows.
    pub(crate) async fn post_refused(&self, call: &str, input: &Value) -> Refused {
        self.refused(call, self.post_request(call, input)).await
    }

    /// A query that must be refused, by a name that the lexicon knows.
    pub(crate) async fn get_refused(&self, call: &str, parameters: &[(&str, &str)]) -> Refused {
        self.refused(call, self.get_request(call, parameters)).await
    }

    /// Any request that must be refused.
    pub(crate) async fn refused(&self, call: &str, request: Request<Full<Bytes>>) -> Refused {
        self.refusal(call, self.exchange(request).await)
    }

    /// What an answer to a call is that must be a refusal.
    pub(crate) fn refusal(
        &self,
        call: &str,
        (status, headers, answer): (StatusCode, HeaderMap, Value),
    ) -> Refused {
        assert!(!status.is_success(), "{call} was allowed: {answer}");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let refused = Refused {
            status,
            name: text("error"),
            message: text("message"),
            headers,
            body: answer,
        };
        let known = self.lexicons.knows_error(call, &refused.name);
        assert!(known, "{call} does not name the error {}", refused.name);
        let message = &refused.message;
        assert_eq!(wording::fault(message), None, "{call}: {message}");
        refused
    }

    pub(crate) fn post_request(&self, call: &str, input: &Value) -> Request<Full<Bytes>> {
        let request = self.request(call).method("POST");
        let request = request.header("content-type", "application/json");
        request.body(Full::from(input.to_string())).unwrap()
    }

    pub(crate) fn get_request(
        &self,
        call: &str,
        parameters: &[(&str, &str)],
    ) -> Request<Full<Bytes>> {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(parameters);
        let target = format!("{}?{}", path(call), pairs.finish());
        self.request(call)
            .uri(target)
            .body(Full::default())
            .unwrap()
    }

    /// A request with a token for `call`, still to be completed.
    pub(crate) fn request(&self, call: &str) -> http::request::Builder {
        let token = token(&self.account, call);
        Request::builder()
            .uri(path(call))
            .header("host", "relay.test")
            .header("authorization", format!("Bearer {token}"))
    }

    /// Sends a request and reads its JSON answer.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> (StatusCode, HeaderMap, Value) {
        whole(self.send(request).await).await
    }

    /// Sends a request on a connection of its own; the answer as it begins.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        send_on(stream, request).await
    }
}

/// Sends a request on a connection that nobody else uses; the answer as it begins.
pub(crate) async fn send_on(
    stream: TlsStream<TcpStream>,
    request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

/// Reads an answer that is JSON.
pub(crate) async fn whole(response: Response<Incoming>) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let answer = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| panic!("{} is no JSON", String::from_utf8_lossy(&bytes)));
    (parts.status, parts.headers, answer)
}

/// `{"$bytes": …}`.
pub(crate) fn bytes(bytes: &[u8]) -> Value {
    json!({ "$bytes": STANDARD_NO_PAD.encode(bytes) })
}

/// Base64url without padding.
pub(crate) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes that these digits stand for, as of the id of a group.
pub(crate) fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The bytes of either form.
pub(crate) fn decoded(value: &Value) -> Vec<u8> {
    match value.as_str() {
        Some(text) => URL_SAFE_NO_PAD.decode(text).unwrap(),
        None => STANDARD_NO_PAD
            .decode(value["$bytes"].as_str().unwrap())
            .unwrap(),
    }
}

/// An object with some fields replaced; `null` takes one out.
pub(crate) fn with(base: &Value, changes: Value) -> Value {
    let mut object: Map<String, Value> = base.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.remove(name)),
            value => drop(object.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(object)
}

/// Fails unless the answer has these fields with these values, whatever else it has.
#[track_caller]
pub(crate) fn assert_says(answer: &Value, fields: Value) {
    assert_eq!(*answer, with(answer, fields));
}

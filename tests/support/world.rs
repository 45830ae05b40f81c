//! A relay behind its own TLS edge, with a real Postgres and a directory of real
//! keys; and accounts that speak to it by the lexicons.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a test stops at what it did not expect; each program uses its part of this"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use mls_relay::auth::{self, Authenticator};
use mls_relay::edge::{self, Edge, Gate, Health, Routes};
use mls_relay::events::{self, Hub};
use mls_relay::limits::{self, Clock, Limits};
use mls_relay::receipt::ReceiptSigner;
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::session::{self, Sessions};
use mls_relay::store::{self, DatabaseUrl, Store};
use mls_relay::tls::{self, CertificateFiles, Certificates, TicketKeys, Tls};
use mls_relay::xrpc::{self, Calls};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay::Relay;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::database::Database;
use crate::lexicon::Lexicons;

/// Who the relay is in these tests.
pub const SERVICE_DID: &str = "did:web:relay.test";
const NAMESPACE: &str = "blue.catbird.mls";

/// Everything that one test needs. Ends with the test.
pub struct World {
    pub relay: Arc<Relay>,
    pub directory: Directory,
    pub lexicons: Arc<Lexicons>,
    pub store: Store,
    pub database: Database,
    _certs: TempDir,
    _shutdown: Shutdown,
}

impl World {
    pub async fn start() -> Self {
        Self::with(xrpc::Settings::default()).await
    }

    /// A world whose calls have other bounds, and generous quotas.
    pub async fn with(settings: xrpc::Settings) -> Self {
        let generous = limits::Calls {
            add_members: 1000,
            create_convo: 1000,
            publish_key_package: 1000,
            remove_member: 1000,
            report_member: 1000,
            send_message: 1000,
            ..limits::Settings::default().calls
        };
        Self::with_quotas(settings, generous).await
    }

    pub async fn with_quotas(settings: xrpc::Settings, quotas: limits::Calls) -> Self {
        let database = Database::start().await;
        let shutdown = Shutdown::default();
        let url = DatabaseUrl::parse(&database.url()).unwrap();
        let store = Store::open(store::Settings::for_database(url), &shutdown)
            .await
            .unwrap();
        let directory = Directory::start().await.unwrap();
        let auth = auth::Settings {
            service_did: SERVICE_DID.to_owned(),
            plc_url: directory.url(),
            ..auth::Settings::default()
        };
        let auth = Authenticator::start(Live::new(auth), store.clone(), shutdown.clone())
            .await
            .unwrap();
        let limits = limits::Settings {
            calls: quotas,
            ..limits::Settings::default()
        };
        let limits = Limits::new(Live::new(limits), Clock::system());
        let receipts = Arc::new(ReceiptSigner::new(&[7; 32]).unwrap());
        let calls = Calls::new(
            store.clone(),
            auth.clone(),
            receipts,
            limits.clone(),
            Live::new(settings),
        );
        let hub = Hub::start(
            Arc::new(store.clone()),
            events::Settings::default(),
            &shutdown,
        );
        let sessions = Sessions::new(
            hub,
            auth.clone(),
            limits.clone(),
            Live::new(session::Settings::default()),
            shutdown.clone(),
        );
        let certs = TempDir::new().unwrap();
        let certificate = tls::ensure_dev_certificate(certs.path(), SystemTime::now()).unwrap();
        let settings = edge::Settings {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            ..edge::Settings::default()
        };
        let routes = Routes::new(
            &settings,
            Gate::new(auth, limits.clone()),
            calls,
            sessions,
            Health::new(shutdown.clone(), []),
            None,
        );
        let listener = Edge::bind(settings).unwrap();
        let address = format!("localhost:{}", listener.address().unwrap().port());
        let relay = Relay::new(&address, SERVICE_DID, &certificate.cert).unwrap();
        let files = CertificateFiles {
            cert: certificate.cert,
            key: certificate.key,
        };
        let tls = tls::Settings::default();
        let certificates = Certificates::load(&[files], tls.expiry_alarm, false).unwrap();
        let tickets = TicketKeys::share(tls.ticket_rotation, store.clone(), &shutdown);
        let tls = Tls::new(&tls, certificates, tickets.await.unwrap(), None).unwrap();
        listener.serve(tls, limits, routes, &shutdown);
        Self {
            relay: Arc::new(relay),
            directory,
            lexicons: Arc::new(Lexicons::load()),
            store,
            database,
            _certs: certs,
            _shutdown: shutdown,
        }
    }

    /// A new account, known to the directory.
    pub fn account(&self) -> Client {
        let account = Account::generate(Curve::Secp256k1).unwrap();
        self.directory.publish(&account);
        Client {
            account: Arc::new(account),
            relay: Arc::clone(&self.relay),
            lexicons: Arc::clone(&self.lexicons),
        }
    }
}

/// One account at the other end.
#[derive(Clone)]
pub struct Client {
    pub account: Arc<Account>,
    relay: Arc<Relay>,
    lexicons: Arc<Lexicons>,
}

/// What a refusal said.
#[derive(Debug)]
pub struct Refused {
    pub status: StatusCode,
    pub name: String,
    pub message: String,
    pub headers: HeaderMap,
}

impl Client {
    pub fn did(&self) -> &str {
        self.account.did()
    }

    /// A procedure that must succeed, within the lexicon both ways.
    pub async fn post(&self, call: &str, input: &Value) -> Value {
        let faults = self.lexicons.input_faults(call, input);
        assert!(faults.is_empty(), "{call} was sent {faults:?}");
        let (status, _, answer) = self.exchange(self.post_request(call, input)).await;
        assert_eq!(status, StatusCode::OK, "{call}: {answer}");
        let faults = self.lexicons.output_faults(call, &answer);
        assert!(faults.is_empty(), "{call} answered {faults:?}");
        answer
    }

    /// A query that must succeed, within the lexicon.
    pub async fn get(&self, call: &str, parameters: &[(&str, &str)]) -> Value {
        let request = self.get_request(call, parameters);
        let (status, _, answer) = self.exchange(request).await;
        assert_eq!(status, StatusCode::OK, "{call}: {answer}");
        let faults = self.lexicons.output_faults(call, &answer);
        assert!(faults.is_empty(), "{call} answered {faults:?}");
        answer
    }

    /// A procedure that must be refused, by a name that the lexicon knows.
    pub async fn post_refused(&self, call: &str, input: &Value) -> Refused {
        self.refused(call, self.post_request(call, input)).await
    }

    /// A query that must be refused, by a name that the lexicon knows.
    pub async fn get_refused(&self, call: &str, parameters: &[(&str, &str)]) -> Refused {
        self.refused(call, self.get_request(call, parameters)).await
    }

    /// Any request that must be refused.
    pub async fn refused(&self, call: &str, request: Request<Full<Bytes>>) -> Refused {
        let (status, headers, answer) = self.exchange(request).await;
        assert!(!status.is_success(), "{call} was allowed: {answer}");
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        let refused = Refused {
            status,
            name: text("error"),
            message: text("message"),
            headers,
        };
        let known = self.lexicons.knows_error(call, &refused.name);
        assert!(known, "{call} does not name the error {}", refused.name);
        refused
    }

    pub fn post_request(&self, call: &str, input: &Value) -> Request<Full<Bytes>> {
        let request = self.request(call).method("POST");
        let request = request.header("content-type", "application/json");
        request.body(Full::from(input.to_string())).unwrap()
    }

    pub fn get_request(&self, call: &str, parameters: &[(&str, &str)]) -> Request<Full<Bytes>> {
        let mut pairs = form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(parameters);
        let target = format!("/xrpc/{NAMESPACE}.{call}?{}", pairs.finish());
        self.request(call)
            .uri(target)
            .body(Full::default())
            .unwrap()
    }

    /// A request with a token for `call`, still to be completed.
    pub fn request(&self, call: &str) -> http::request::Builder {
        let method = format!("{NAMESPACE}.{call}");
        let life = Duration::from_secs(60);
        let token = self
            .account
            .service_token(SERVICE_DID, &method, life)
            .unwrap();
        Request::builder()
            .uri(format!("/xrpc/{method}"))
            .header("host", "relay.test")
            .header("authorization", format!("Bearer {token}"))
    }

    /// Sends a request and reads its JSON answer.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> (StatusCode, HeaderMap, Value) {
        let stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let response: Response<_> = sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        drop(sender);
        driver.abort();
        let answer = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{} is no JSON", String::from_utf8_lossy(&bytes)));
        (parts.status, parts.headers, answer)
    }
}

/// `{"$bytes": …}`.
pub fn bytes(bytes: &[u8]) -> Value {
    json!({ "$bytes": STANDARD_NO_PAD.encode(bytes) })
}

/// Base64url without padding.
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of either form.
pub fn decoded(value: &Value) -> Vec<u8> {
    match value.as_str() {
        Some(text) => URL_SAFE_NO_PAD.decode(text).unwrap(),
        None => STANDARD_NO_PAD
            .decode(value["$bytes"].as_str().unwrap())
            .unwrap(),
    }
}

/// An object with some fields replaced; `null` takes one out.
pub fn with(base: &Value, changes: Value) -> Value {
    let mut object: Map<String, Value> = base.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(object.remove(name)),
            value => drop(object.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(object)
}

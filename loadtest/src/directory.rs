//! A small PLC directory on loopback: `GET /{did}` serves a DID document over
//! real HTTP. It can be told to be slow or broken, counts what it is asked, and
//! serves what was published last, so that a key can rotate under its users.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::identity::{Account, Curve, IdentityError};

/// On this machine, wherever the system finds room.
pub const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What the directory does instead of its work.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Fault {
    /// It works.
    #[default]
    None,
    /// Answers everything with this status and no document.
    Status(u16),
    /// Says that it is asked too often, and for how many seconds to leave it alone.
    Limited(u64),
    /// Sends everyone elsewhere.
    RedirectTo(String),
    /// Answers with this many bytes that are a JSON string.
    Oversized(usize),
    /// Answers with the right status and half a document.
    Truncated,
    /// Takes the request and never answers.
    Silent,
}

/// A running directory. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct Directory {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    documents: HashMap<String, Value>,
    requests: HashMap<String, usize>,
    latency: Duration,
    fault: Fault,
}

impl Directory {
    /// Starts an empty directory on a free port of loopback.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(ANY_PORT).await
    }

    /// Starts an empty directory at this address.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            address,
            state,
            server,
        })
    }

    /// What `PLC_URL` should say.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A new account, whose document is served.
    pub fn account(&self, curve: Curve) -> Result<Account, IdentityError> {
        let account = Account::generate(curve)?;
        self.publish(&account);
        Ok(account)
    }

    /// Serves this account's document from now on, in place of an older one.
    pub fn publish(&self, account: &Account) {
        self.put(account.did(), account.document());
    }

    /// Serves any JSON for this DID.
    pub fn put(&self, did: &str, document: Value) {
        lock(&self.state).documents.insert(did.to_owned(), document);
    }

    /// Forgets a DID: 404 from now on.
    pub fn remove(&self, did: &str) {
        lock(&self.state).documents.remove(did);
    }

    /// Waits this long before every answer.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.state).latency = latency;
    }

    pub fn set_fault(&self, fault: Fault) {
        lock(&self.state).fault = fault;
    }

    /// How often this DID was asked for.
    pub fn requests_for(&self, did: &str) -> usize {
        lock(&self.state).requests.get(did).copied().unwrap_or(0)
    }

    /// How often anything was asked for.
    pub fn requests(&self) -> usize {
        lock(&self.state).requests.values().sum()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts until it is aborted; its connections end with it.
async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(serve_connection(stream, Arc::clone(&state)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<Mutex<State>>) {
    let service = service_fn(|request| answer(request, Arc::clone(&state)));
    // A client that hangs up is no fault of the directory.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // Clients may write the colons of a DID as they are or as %3A.
    let did = request.uri().path().trim_start_matches('/');
    let did = did.replace("%3A", ":").replace("%3a", ":");
    let (latency, fault, document) = {
        let mut state = lock(&state);
        *state.requests.entry(did.clone()).or_default() += 1;
        let document = state.documents.get(&did).cloned();
        (state.latency, state.fault.clone(), document)
    };
    tokio::time::sleep(latency).await;
    Ok(match fault {
        Fault::None => match document {
            Some(document) => respond(StatusCode::OK, document.to_string()),
            None => respond(StatusCode::NOT_FOUND, r#"{"message":"DID not registered"}"#),
        },
        Fault::Status(status) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            respond(status, r#"{"message":"told to fail"}"#)
        }
        Fault::Limited(seconds) => {
            let mut response = respond(StatusCode::TOO_MANY_REQUESTS, "");
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
            response
        }
        Fault::RedirectTo(location) => {
            let mut response = respond(StatusCode::FOUND, "");
            if let Ok(location) = location.parse() {
                response.headers_mut().insert(LOCATION, location);
            }
            response
        }
        Fault::Oversized(len) => respond(StatusCode::OK, format!("\"{}\"", "x".repeat(len))),
        Fault::Truncated => {
            let mut text = document.unwrap_or_default().to_string();
            text.truncate(text.len() / 2);
            respond(StatusCode::OK, text)
        }
        Fault::Silent => std::future::pending().await,
    })
}

fn respond(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/did+ld+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask;

    async fn fetch(directory: &Directory, did: &str) -> (StatusCode, Bytes) {
        let stream = TcpStream::connect(directory.address).await.unwrap();
        let path = format!("/{did}");
        ask::get(stream, "directory", &path).await.unwrap()
    }

    #[tokio::test]
    async fn serves_what_was_published_last_and_counts() {
        let directory = Directory::start().await.unwrap();
        let mut account = Account::generate(Curve::P256).unwrap();
        let (status, _) = fetch(&directory, account.did()).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
        directory.publish(&account);
        account.rotate(Curve::Secp256k1).unwrap();
        directory.publish(&account);
        let (status, body) = fetch(&directory, account.did()).await;
        assert_eq!(status, StatusCode::OK);
        let served: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(served, account.document());
        assert_eq!(directory.requests_for(account.did()), 2);
    }
}

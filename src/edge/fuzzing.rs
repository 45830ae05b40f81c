//! The ways in for `fuzz/`: who a stranger's bytes say that they come from, and what they ask.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::client_address::{AddressHeader, Trust};
use super::http::{http1_builder, http2_builder};
use super::http2_frames::Frames;
use super::route::bare;
use super::settings::Settings;
use super::watched::Watched;
use super::{host, proxy_header};
use crate::runtime::{Drained, Shutdown};
use crate::types::ClientIp;
use crate::wire::Body;

/// Whom the PROXY header of a connection names, or the label of why it is none.
pub async fn proxy_header<S>(stream: &mut S) -> Result<Option<IpAddr>, &'static str>
where
    S: AsyncRead + Unpin,
{
    let read = proxy_header::read(stream, Duration::from_secs(1)).await;
    read.map_err(|error| error.reason())
}

/// The client of a request that came from `peer`, if `proxies` write this header.
pub fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    proxies: &[IpNet],
    written: AddressHeader,
) -> ClientIp {
    let sources = &[written];
    Trust { proxies, sources }.client(peer, headers).0
}

/// What is heard over HTTP/1.1 until nothing more comes: of each request its line, and what is
/// wrong with its host; then its body, if it came whole.
pub async fn requests<S>(stream: S) -> Vec<String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let service = service_fn(move |request| answer(request, Arc::clone(&told)));
    let connection = http1_builder(&Settings::default());
    let connection = connection.serve_connection(TokioIo::new(stream), service);
    // How it ended is of interest to the other end only.
    let _ = timeout(Duration::from_secs(1), connection).await;
    std::mem::take(&mut *heard.lock())
}

/// The same over HTTP/2, in any order; and how many frames were counted. When the connection has
/// ended, no stream of it is left.
pub async fn streams<S>(stream: S) -> (Vec<String>, u64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let service = service_fn(move |request| answer(request, Arc::clone(&told)));
    let counted = Arc::new(AtomicU64::new(0));
    let (count, mut frames) = (Arc::clone(&counted), Frames::default());
    let hear = move |bytes: &[u8]| {
        count.fetch_add(frames.see(bytes), Ordering::Relaxed);
        true
    };
    let stream = TokioIo::new(Watched::new(stream, hear, |_: &S, _| {}));
    let shutdown = Shutdown::default();
    let connection = http2_builder(&Settings::default(), &shutdown);
    // How it ended is of interest to the other end only.
    let _ = connection.serve_connection(stream, service).await;
    let drained = shutdown.drain(Duration::from_secs(1)).await;
    assert_eq!(drained, Drained::Complete);
    let heard = std::mem::take(&mut *heard.lock());
    (heard, counted.load(Ordering::Relaxed))
}

async fn answer(
    request: Request<Incoming>,
    heard: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let fault = host::fault(&head);
    let line = format!("{} {} {fault:?}", head.method, head.uri);
    heard.lock().push(line);
    let body = body.collect().await;
    let body = body.map(|body| format!("{:?}", &body.to_bytes()[..]));
    heard.lock().extend(body);
    Ok(bare(StatusCode::NOT_FOUND))
}

//! Fetches one document over HTTP/1.1: one connection, one GET, no redirects, a
//! body of bounded length. The caller sets the deadline over all of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::FetchError;
use super::dial::dial;
use super::page::Page;
use super::tls::{public_authorities, tls_config};

/// What a host said about a document.
#[derive(Debug)]
pub(crate) enum Fetched {
    Document(Bytes),
    /// 404 or 410: a clear statement, unlike every other failure.
    Absent,
}

/// Everything that outlives one fetch.
#[derive(Clone)]
pub(crate) struct Fetcher {
    tls: TlsConnector,
    document_len_max: usize,
}

impl Fetcher {
    /// A fetcher that trusts the public certificate authorities.
    pub(crate) fn new(document_len_max: usize) -> Result<Self, rustls::Error> {
        Self::trusting(public_authorities(), document_len_max)
    }

    pub(crate) fn trusting(
        roots: RootCertStore,
        document_len_max: usize,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls_config(roots)?)),
            document_len_max,
        })
    }

    /// Keeps the `turn` until nothing is under way any more, which may be later than the
    /// caller waits.
    pub(crate) async fn get<T: Send + Sync + 'static>(
        &self,
        page: &Page<'_>,
        turn: Arc<T>,
    ) -> Result<Fetched, FetchError> {
        let stream = dial(page, &turn).await?;
        if page.tls {
            let name = ServerName::try_from(page.host.to_owned())
                .map_err(|_| FetchError::AddressRefused)?;
            let stream = self.tls.connect(name, stream).await;
            let stream = stream.map_err(|error| FetchError::Tls((&error).into()))?;
            self.exchange(page, stream).await
        } else {
            self.exchange(page, stream).await
        }
    }

    pub(super) async fn exchange<S>(
        &self,
        page: &Page<'_>,
        stream: S,
    ) -> Result<Fetched, FetchError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LEN_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchError::Http)?;
        let request = Request::get(page.path)
            .header(HOST, page.host_header())
            .header(ACCEPT, "application/did+ld+json, application/json")
            .header(USER_AGENT, "mls-relay")
            .body(Empty::<Bytes>::new())
            // Host and path come from checked parts, so this is never built wrong.
            .map_err(|_| FetchError::Http)?;
        let answer = async move {
            let response = sender.send_request(request).await;
            let response = response.map_err(|_| FetchError::Http)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(Fetched::Absent),
                StatusCode::TOO_MANY_REQUESTS => {
                    let retry_after = retry_after(response.headers());
                    return Err(FetchError::Limited { retry_after });
                }
                status => return Err(FetchError::Status(status)),
            }
            let body = Limited::new(response.into_body(), self.document_len_max);
            let whole = body.collect().await.map_err(|_| FetchError::Body)?;
            Ok(Fetched::Document(whole.to_bytes()))
        };
        beside(connection, answer).await
    }
}

/// Waits for an answer while its connection moves bytes, and does no more: what it may have to say
/// about its end, the answer hears as well.
pub(crate) async fn beside<T>(connection: impl Future, answer: impl Future<Output = T>) -> T {
    let connection = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = connection => never,
    }
}

/// In seconds; of a date nothing is known here (RFC 9110 section 10.2.3 has both).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Status line and headers of a well-behaved host are below 2 KiB; the least
/// that the HTTP library works with is 8 KiB.
const HEAD_LEN_MAX: usize = 16 * 1024;

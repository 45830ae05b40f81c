//! The way in for `fuzz/`: what a host that a stranger named may answer.

use bytes::Bytes;
use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncWrite};

use super::FetchError;
use super::fetch::{Fetched, Fetcher};
use super::page::{Page, Reach};

/// Asks the host at the other end for its document, of at most so many bytes. `None`: it
/// says that it has none.
pub async fn ask<S>(stream: S, document_len_max: usize) -> Result<Option<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let fetcher = Fetcher::trusting(RootCertStore::empty(), document_len_max);
    let page = Page {
        host: "host.test",
        port: 443,
        path: "/.well-known/did.json",
        tls: true,
        reach: Reach::PublicOnly,
    };
    // No certificate is looked at here.
    let fetcher = fetcher.map_err(|_| FetchError::Http)?;
    match fetcher.exchange(&page, stream).await? {
        Fetched::Document(bytes) => Ok(Some(bytes)),
        Fetched::Absent => Ok(None),
    }
}

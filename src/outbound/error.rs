//! Pure. Why a question to another service has no answer.

use std::io;
use std::time::Duration;

use http::StatusCode;

/// Why no document came. None of these says that there is none. Causes are cut
/// to their kind: the texts of TLS and name lookup show the host, and the host of
/// a `did:web` is an identity.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the host has no address that may be reached")]
    AddressRefused,
    #[error("the answer is longer than allowed, or broke off")]
    Body,
    #[error("could not connect: {0}")]
    Connect(io::ErrorKind),
    #[error("the answer is no HTTP, or the connection was lost")]
    Http,
    #[error("no name server knows the host's name, or none answers")]
    Lookup,
    /// 429, and for how long, if it says so.
    #[error("the host was asked too often")]
    Limited { retry_after: Option<Duration> },
    #[error("the host answered with status {0}")]
    Status(StatusCode),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::ErrorKind),
}

//! Pure. What can keep the edge from serving. None of it reaches a peer.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {address}{}", hint(source))]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("certificate")]
    Certificate(#[from] CertError),
    #[error("the listening socket is broken")]
    Listener(#[source] io::Error),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Why a certificate is not served.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("cannot make a development certificate")]
    Generate(#[from] rcgen::Error),
    #[error("{} does not match {}", .key.display(), .cert.display())]
    Mismatch {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("{} holds no certificate", .0.display())]
    NoCertificate(PathBuf),
    #[error("{} holds no private key", .0.display())]
    NoKey(PathBuf),
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": it is taken; is another relay running?",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need the right to bind them",
        _ => "",
    }
}

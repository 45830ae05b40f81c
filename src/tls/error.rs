//! Pure. Why something is not served. None of it reaches a peer.

use std::io;
use std::path::PathBuf;

use crate::store::StoreError;

/// Why a certificate, or an authority, is not put in force.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    #[error("a certificate in it cannot be an authority")]
    Authority(#[source] rustls::Error),
    #[error("it has expired")]
    Expired,
    #[error("cannot make a certificate")]
    Generate(#[from] rcgen::Error),
    #[error("the certificate is not well-formed")]
    Malformed(#[source] x509_cert::der::Error),
    #[error("the key does not match the certificate")]
    Mismatch(#[source] rustls::Error),
    #[error("the file of certificates holds none")]
    NoCertificate,
    #[error("the file of the key holds none that is not encrypted")]
    NoKey,
    #[error("it is not yet valid")]
    NotYetValid,
    #[error("it is not PEM")]
    Pem(#[source] io::Error),
    #[error("cannot read {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot serve what is in {}", join(files))]
    Unfit {
        files: Vec<PathBuf>,
        #[source]
        source: Box<CertError>,
    },
    #[error("cannot use as authorities of clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("cannot write {}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why the listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the certificate cannot be served")]
    Certificate(#[from] CertError),
    #[error("the keys of session tickets cannot be shared")]
    Store(#[from] StoreError),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

fn join(files: &[PathBuf]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(" and ")
}

//! Pure. The two files of one certificate.

use std::path::PathBuf;

/// A chain, leaf first, and its private key, both PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

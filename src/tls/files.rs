//! Pure. The two files of one certificate, and what can be made of files.

use std::path::PathBuf;
use std::time::SystemTime;

use super::error::CertError;

/// A chain, leaf first, and its private key, both PEM.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What can be made from the contents of files.
pub(super) trait FromFiles: Sized {
    fn from_files(contents: &[Vec<u8>]) -> Result<Self, CertError>;

    /// Whether it may replace what is in force.
    fn check_time(&self, now: SystemTime) -> Result<(), CertError>;
}

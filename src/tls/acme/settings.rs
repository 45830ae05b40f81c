//! Pure. What an operator can choose about ACME.

use std::path::PathBuf;
use std::time::Duration;

use super::Domain;

#[derive(Clone, Debug)]
pub struct Settings {
    /// What to have a certificate for. None: ACME is not used.
    pub domains: Vec<Domain>,
    /// The directory's URL (RFC 8555 section 7.1.1).
    pub directory: String,
    /// Mail addresses that the directory may write to.
    pub contact: Vec<String>,
    /// An authority beside the public ones that the directory's own certificate may be of.
    pub ca_file: Option<PathBuf>,
    /// How long to wait after a first failure. It doubles, up to half a day.
    pub retry_first: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: Vec::new(),
            ca_file: None,
            // Let's Encrypt allows five failed validations an hour, a name and an account.
            retry_first: Duration::from_secs(300),
        }
    }
}

//! Pure. What an operator can choose about TLS.

use std::path::PathBuf;
use std::time::Duration;

use super::CertificateFiles;

#[derive(Clone, Debug)]
pub struct Settings {
    /// Chains with their keys, the default first.
    pub certificates: Vec<CertificateFiles>,
    /// How often files, and what other nodes have got, are looked at.
    pub look_every: Duration,
    /// How long before its end a certificate is alarming. Short-lived ones alarm in
    /// the last quarter of their life.
    pub expiry_alarm: Duration,
    /// Authorities of client certificates. Set: nobody connects without one.
    pub client_ca: Option<PathBuf>,
    /// How long a key encrypts session tickets. They are good for two to three times that.
    pub ticket_rotation: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            // Reading a few kilobytes costs nothing, and no kind of replacement escapes it.
            look_every: Duration::from_secs(10),
            expiry_alarm: Duration::from_secs(14 * 86_400),
            client_ca: None,
            // A phone that was last here yesterday evening resumes in the morning.
            ticket_rotation: Duration::from_secs(12 * 3600),
        }
    }
}

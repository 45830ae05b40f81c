//! TLS as strangers meet it: which certificate, under which rules, and how a phone
//! that was here before gets in with half the work.
//!
//! ```text
//! files ──(looked at every few seconds)──┐
//!                                        ├─> Certificates ──(by the name asked for)──> handshake
//! ACME ──(one node orders, all serve)────┘                                                │
//! Postgres ──(keys that all nodes share, in turn)──> TicketKeys ──────(resumption)────────┘
//! ```
//!
//! A file that cannot be served changes nothing: the last good one stays in force, and
//! health, metrics and the log say so.

mod acme;
mod certificate;
mod certificates;
mod cipher_suites;
mod client_roots;
mod dev_cert;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod listener;
mod plain_http;
mod records;
mod selection;
mod settings;
mod stream;
#[cfg(any(test, fuzzing))]
mod test_configs;
mod ticket_keys;
mod ticket_rotation;
mod watched;

pub use acme::{Acme, Challenges, Domain, Settings as AcmeSettings};
pub use certificates::Certificates;
pub use dev_cert::{DevCertificate, ensure as ensure_dev_certificate};
pub use error::{CertError, TlsError};
pub use files::CertificateFiles;
pub use listener::{ALPN_H2, ClientAuthorities, Tls};
pub use settings::Settings;
pub use stream::{HandshakeError, TlsStream};
pub use ticket_keys::TicketKeys;

//! Certificates from an ACME directory (RFC 8555), proved on the listener itself
//! (TLS-ALPN-01, RFC 8737).
//!
//! All nodes of one database are one customer: the account, the certificate and the
//! answers to challenges are in Postgres. One node at a time has the turn to order; the
//! directory may ask whichever it reaches; all serve what was issued. A turn that failed
//! is not followed by another before a wait that doubles, whatever node or start it is,
//! because directories count failures.

mod challenges;
mod client;
mod domain;
mod error;
mod order;
mod renewal;
mod settings;

pub(super) use challenges::ACME_TLS_ALPN;
pub use challenges::Challenges;
pub use domain::Domain;
pub use renewal::Acme;
pub use settings::Settings;

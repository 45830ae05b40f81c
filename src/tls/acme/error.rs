//! Pure. Why there is no new certificate.

use instant_acme::OrderStatus;

use crate::store::StoreError;
use crate::tls::CertError;

#[derive(Debug, thiserror::Error)]
pub(super) enum AcmeError {
    #[error("the certificate cannot be served")]
    Certificate(#[from] CertError),
    #[error("the directory refused")]
    Directory(#[from] instant_acme::Error),
    #[error("the account cannot be read")]
    Account(#[from] serde_json::Error),
    #[error("the order took too long")]
    Late,
    #[error("the directory does not offer TLS-ALPN-01")]
    NoChallenge,
    #[error("a domain was not proved; does it lead here, on port 443?")]
    NotProved(#[source] Box<instant_acme::Problem>),
    #[error("the order was refused: it is {0:?}")]
    Refused(OrderStatus),
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
}

impl AcmeError {
    /// Whether the directory has forgotten us: test servers do, and some after a year.
    pub(super) fn is_unknown_account(&self) -> bool {
        let Self::Directory(instant_acme::Error::Api(problem)) = self else {
            return false;
        };
        problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:accountDoesNotExist")
    }
}

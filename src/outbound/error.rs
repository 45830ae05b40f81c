//! Pure. Why a question to another service has no answer.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::Duration;

use http::StatusCode;
use rustls::CertificateError;

/// Why no document came. None of these says that there is none. Causes are said in words of a
/// closed list: the texts of TLS show the host, and the host of a `did:web` is an identity.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the host has no address that may be reached")]
    AddressRefused,
    #[error("the answer is longer than allowed, or broke off")]
    Body,
    #[error("could not connect: {0}")]
    Connect(SystemError),
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
    Tls(TlsError),
}

/// An error of the system, without what it was about.
#[derive(Clone, Copy, Debug)]
pub struct SystemError {
    number: Option<i32>,
    kind: io::ErrorKind,
}

impl From<&io::Error> for SystemError {
    fn from(error: &io::Error) -> Self {
        Self {
            number: error.raw_os_error(),
            kind: error.kind(),
        }
    }
}

impl Display for SystemError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.number {
            // Some have no kind, such as that there are too many open files.
            Some(number) => io::Error::from_raw_os_error(number).fmt(f),
            None => self.kind.fmt(f),
        }
    }
}

/// Why there is no TLS with a host.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum TlsError {
    #[error("the host's certificate is not good")]
    Certificate,
    #[error("the host's certificate has expired, or our clock is wrong")]
    CertificateExpired,
    #[error("the host's certificate is of no authority that is known here")]
    CertificateIssuer,
    #[error("the host's certificate is for other names")]
    CertificateName,
    #[error("the host's certificate is not valid yet, or our clock is wrong")]
    CertificateNotYetValid,
    #[error("the host and the relay do not understand each other")]
    Protocol,
    #[error("the host refused it")]
    Refused,
    #[error("{0}")]
    Connection(SystemError),
}

impl From<&io::Error> for TlsError {
    fn from(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            None => Self::Connection(error.into()),
            Some(rustls::Error::InvalidCertificate(fault)) => match fault {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    Self::CertificateExpired
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    Self::CertificateNotYetValid
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => Self::CertificateName,
                CertificateError::UnknownIssuer => Self::CertificateIssuer,
                _ => Self::Certificate,
            },
            Some(rustls::Error::AlertReceived(_)) => Self::Refused,
            Some(_) => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_told_also_where_it_is_of_no_kind() {
        let too_many = io::Error::from_raw_os_error(24);
        let told = FetchError::Connect(SystemError::from(&too_many)).to_string();
        assert!(told.contains("open files"), "{told}");
        let timed_out = io::Error::from(io::ErrorKind::TimedOut);
        let told = FetchError::Connect(SystemError::from(&timed_out)).to_string();
        assert_eq!(told, "could not connect: timed out");
    }
}

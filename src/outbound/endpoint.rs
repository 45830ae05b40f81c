//! Pure. A service that the operator named by its URL.

use http::Uri;
use http::uri::{Authority, Scheme};

use super::page::{Page, Reach};

/// The text is not an http or https URL with a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an http:// or https:// URL with a host, and with no user and no query")]
pub struct EndpointError;

/// Where such a service is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    /// Without a slash at its end.
    base_path: String,
    tls: bool,
}

/// Whether there is a user, with a password perhaps, beside the host.
pub(crate) fn names_user(authority: &Authority) -> bool {
    authority.as_str().contains('@')
}

impl Endpoint {
    pub(crate) fn parse(url: &str) -> Result<Self, EndpointError> {
        let uri: Uri = url.parse().map_err(|_| EndpointError)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(EndpointError),
        };
        let authority = uri.authority().ok_or(EndpointError)?;
        let host = authority.host();
        // Neither would ever be sent.
        if host.is_empty() || names_user(authority) || uri.query().is_some() {
            return Err(EndpointError);
        }
        Ok(Self {
            // An IPv6 literal is written in brackets in a URL, and without in a name.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }

    /// The path of something that the service has.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.base_path)
    }

    /// A GET of this path. The operator named the host, so it may be anywhere.
    pub(crate) fn page<'a>(&'a self, path: &'a str) -> Page<'a> {
        Page {
            host: &self.host,
            port: self.port,
            path,
            tls: self.tls,
            reach: Reach::Anywhere,
        }
    }
}

//! Pure. One GET, spelled out.

use std::net::IpAddr;
#[cfg(test)]
use std::net::SocketAddr;

use super::address_policy::is_public;

/// Where a document is, and how to come there.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) path: &'a str,
    pub(crate) tls: bool,
    pub(crate) reach: Reach,
}

/// Which addresses a name may lead to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reach {
    /// The operator named the host: anywhere, also loopback.
    Anywhere,
    /// A stranger named it.
    PublicOnly,
    /// Whatever the name says: tests have no name servers.
    #[cfg(test)]
    Exactly(SocketAddr),
}

impl Reach {
    pub(super) fn allows(self, address: IpAddr) -> bool {
        self == Self::Anywhere || is_public(address)
    }
}

impl Page<'_> {
    pub(super) fn host_header(&self) -> String {
        // RFC 3986 section 3.2.2: an IPv6 literal stands in brackets.
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.to_owned()
        };
        let default_port = if self.tls { 443 } else { 80 };
        if self.port == default_port {
            host
        } else {
            format!("{host}:{}", self.port)
        }
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_told_as_a_url_has_it() {
        for (host, port, tls, told) in [
            ("plc.example", 443, true, "plc.example"),
            ("plc.example", 80, false, "plc.example"),
            ("plc.example", 80, true, "plc.example:80"),
            ("::1", 443, true, "[::1]"),
            ("::1", 2582, false, "[::1]:2582"),
        ] {
            let (path, reach) = ("/", Reach::Anywhere);
            let page = Page {
                host,
                port,
                path,
                tls,
                reach,
            };
            assert_eq!(page.host_header(), told);
        }
    }
}

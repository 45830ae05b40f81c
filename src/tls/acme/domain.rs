//! Pure. A name that can be proved by TLS-ALPN-01: no wildcard, which it cannot prove
//! (RFC 8737 section 3), and no address.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::DnsName;

/// A DNS name in lower case.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Domain(String);

/// The text is not such a name.
#[derive(Debug, thiserror::Error)]
#[error("not a DNS name")]
pub struct NotADomain;

impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        let name = DnsName::try_from(text).map_err(|_| NotADomain)?;
        // A public name has a dot, and no top-level domain begins with a digit.
        let is_public = name
            .as_ref()
            .rsplit_once('.')
            .is_some_and(|(_, top)| top.starts_with(|first: char| first.is_ascii_alphabetic()));
        match is_public {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(NotADomain),
        }
    }
}

impl Domain {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_and_wildcards_and_addresses_are_not() {
        let name = "Relay.Example.com".parse::<Domain>().unwrap();
        assert_eq!(name.as_str(), "relay.example.com");
        for no in [
            "*.example.com",
            "127.0.0.1",
            "::1",
            "localhost",
            "a b.c",
            "",
            "a.com/",
        ] {
            assert!(no.parse::<Domain>().is_err(), "{no}");
        }
    }
}

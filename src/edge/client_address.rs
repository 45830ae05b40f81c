//! Pure. Who the client is, when trusted proxies stand between.
//!
//! A header is believed only from a trusted proxy, and only the part of it that a
//! trusted proxy wrote: lists are read from the right, past trusted hops, up to the
//! first address that is not one of ours. Whatever stands further left, the client
//! itself may have written. When that entry cannot be read, the answer is the
//! socket's peer, never an entry further left.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use crate::types::ClientIp;

/// Whom and what to believe about the client's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trust<'a> {
    /// Networks of our own proxies.
    pub(super) proxies: &'a [IpNet],
    /// The headers that they write; the first that is present decides.
    pub(super) sources: &'a [AddressHeader],
}

/// A header that names the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressHeader {
    /// Cloudflare's; names one address.
    CfConnectingIp,
    /// RFC 7239.
    Forwarded,
    XForwardedFor,
    /// Names one address.
    XRealIp,
}

/// Where an address came from: what the edge counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    Header,
    /// A trusted proxy sent something unreadable; the socket's peer it is.
    Malformed,
    /// A trusted proxy named nobody: it asks for itself, as health checks do, or all its clients
    /// count as one.
    Proxy,
    Socket,
    /// A stranger sent a header that only proxies may; the socket's peer it is.
    Untrusted,
}

impl AddressHeader {
    pub const ALL: [Self; 4] = [
        Self::CfConnectingIp,
        Self::Forwarded,
        Self::XForwardedFor,
        Self::XRealIp,
    ];

    pub fn name(self) -> HeaderName {
        match self {
            Self::CfConnectingIp => HeaderName::from_static("cf-connecting-ip"),
            Self::Forwarded => FORWARDED,
            Self::XForwardedFor => HeaderName::from_static("x-forwarded-for"),
            Self::XRealIp => HeaderName::from_static("x-real-ip"),
        }
    }
}

impl FromStr for AddressHeader {
    type Err = UnknownHeader;

    fn from_str(name: &str) -> Result<Self, UnknownHeader> {
        let known = |header: &Self| name.eq_ignore_ascii_case(header.name().as_str());
        Self::ALL.into_iter().find(known).ok_or(UnknownHeader)
    }
}

impl fmt::Display for AddressHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().as_str())
    }
}

/// Not a header that names a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a header that names a client's address")]
pub struct UnknownHeader;

impl Origin {
    /// The label of its metric.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Malformed => "malformed",
            Self::Proxy => "proxy",
            Self::Socket => "socket",
            Self::Untrusted => "untrusted",
        }
    }
}

impl Trust<'_> {
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.proxies
            .iter()
            .any(|network| network.contains(&address))
    }

    /// The client of a request that came from `peer` with these headers.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> (ClientIp, Origin) {
        let socket = ClientIp::new(peer);
        if !self.is_proxy(peer) {
            let claims = AddressHeader::ALL
                .iter()
                .any(|header| headers.contains_key(header.name()));
            let origin = if claims {
                Origin::Untrusted
            } else {
                Origin::Socket
            };
            return (socket, origin);
        }
        let present = |header: &&AddressHeader| headers.contains_key(header.name());
        let Some(header) = self.sources.iter().find(present) else {
            return (socket, Origin::Proxy);
        };
        match self.named_by(*header, headers) {
            Some(address) => (ClientIp::new(address), Origin::Header),
            None => (socket, Origin::Malformed),
        }
    }

    fn named_by(&self, header: AddressHeader, headers: &HeaderMap) -> Option<IpAddr> {
        // A repeated list header is one list (RFC 9110 section 5.3). A byte that is no text
        // spoils the entry that it is in, which the client may have written, and no other.
        let values = headers.get_all(header.name()).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        match header {
            AddressHeader::CfConnectingIp | AddressHeader::XRealIp => match values.as_slice() {
                [only] => node_address(only),
                _ => None,
            },
            AddressHeader::XForwardedFor => {
                let hops = values
                    .iter()
                    .flat_map(|value| value.split(','))
                    .map(str::trim);
                self.nearest_stranger(
                    hops.filter(|hop| !hop.is_empty())
                        .map(node_address)
                        .collect(),
                )
            }
            AddressHeader::Forwarded => {
                let elements = values
                    .iter()
                    .flat_map(|value| split_outside_quotes(value, ','));
                self.nearest_stranger(elements.map(forwarded_for).collect())
            }
        }
    }

    /// From the right, the first hop that is not a trusted proxy. If all are, the
    /// first one asked for itself: a proxy's own health check.
    fn nearest_stranger(&self, hops: Vec<Option<IpAddr>>) -> Option<IpAddr> {
        let mut nearest = None;
        for hop in hops.into_iter().rev().take(HOPS_MAX) {
            let address = hop?;
            if !self.is_proxy(address) {
                return Some(address);
            }
            nearest = Some(address);
        }
        nearest
    }
}

/// The `for` of one `Forwarded` element, or nothing if it hides its client
/// (`unknown`, `_name`) or cannot be read.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in split_outside_quotes(element, ';') {
        let (name, value) = pair.split_once('=')?;
        // Whatever it is called: a quote that a client has left open takes in what the proxy
        // has added, and hides it.
        let value = unquoted(value.trim())?;
        if name.contains('"') {
            return None;
        }
        if name.trim().eq_ignore_ascii_case("for") {
            // A parameter occurs once (RFC 7239 section 4).
            if found.is_some() {
                return None;
            }
            found = Some(node_address(&value)?);
        }
    }
    found
}

/// Splits at a separator, except inside quoted strings.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let was_escaped = std::mem::take(&mut escaped);
        match character {
            '"' if !was_escaped => quoted = !quoted,
            '\\' if quoted && !was_escaped => escaped = true,
            _ => {}
        }
        character == separator && !quoted
    })
    .filter(|part| !part.trim().is_empty())
}

/// A token as it is, or the text of a quoted string.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.contains('"')).then(|| value.to_owned());
    };
    let inner = rest.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

/// An address as proxies write it: bare, with a port, in brackets, with a zone id
/// (which means nothing on this machine, RFC 4007 section 11.2), in any mixture.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        let port_is_sound = after.is_empty() || after.strip_prefix(':')?.parse::<u16>().is_ok();
        return port_is_sound.then(|| ipv6(inside)).flatten();
    }
    let whole: Option<IpAddr> = text.parse().ok().or_else(|| ipv6(text));
    // With a port only IPv4 can stand without brackets.
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    whole.or_else(with_port)
}

fn ipv6(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        // What is no zone may be a list, of whose end another has the say.
        Some((_, zone)) if !is_zone(zone) => return None,
        Some((address, _)) => address,
        None => text,
    };
    let address: Ipv6Addr = address.parse().ok()?;
    Some(IpAddr::V6(address).to_canonical())
}

/// With its percent sign in whatever form (RFC 6874 section 2).
fn is_zone(text: &str) -> bool {
    let is_of_zone = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    !text.is_empty() && text.bytes().all(is_of_zone)
}

/// More proxies than anyone has in a row; bounds the work on a long list.
const HOPS_MAX: usize = 32;

#[cfg(test)]
#[path = "client_address_tests.rs"]
mod tests;

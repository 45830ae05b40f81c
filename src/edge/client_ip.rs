//! Pure. Who is at the other end: the socket's peer, or what a trusted proxy says.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::types::ClientIp;

/// The address that a request is counted against. Each trusted proxy appended the
/// address it saw, so the list is read from the right, past trusted hops, and the first
/// other address is the client's: everything left of it the client may have made up.
pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientIp {
    let mut client = peer.to_canonical();
    if !is_trusted(client, trusted) {
        return ClientIp::new(client);
    }
    for hop in hops_from_the_right(headers) {
        let Some(hop) = hop else {
            // Not an address: nothing left of it can be believed.
            break;
        };
        client = hop;
        if !is_trusted(hop, trusted) {
            break;
        }
    }
    ClientIp::new(client)
}

pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|network| network.contains(&address))
}

/// The addresses of every `X-Forwarded-For`, last first. Several headers are one list
/// (RFC 9110 section 5.3). None: something that is no address.
fn hops_from_the_right(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    let mut lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
    lines.reverse();
    lines.into_iter().flat_map(|line| match line.to_str() {
        Ok(text) => text.rsplit(',').map(|hop| address(hop.trim())).collect(),
        Err(_) => vec![None],
    })
}

/// An address as proxies write it: bare, with a port, in brackets, with a zone.
fn address(hop: &str) -> Option<IpAddr> {
    if let Ok(socket) = hop.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let unzoned = bare.split_once('%').map_or(bare, |(address, _)| address);
    Some(unzoned.parse::<IpAddr>().ok()?.to_canonical())
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> IpAddr {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "2001:db8::/32"]
            .map(|network| network.parse().unwrap())
            .into();
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        of(peer.parse().unwrap(), &headers, &trusted).expose()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_stranger_is_its_socket_whatever_it_says() {
        assert_eq!(client("192.0.2.1", &["203.0.113.9"]), ip("192.0.2.1"));
        assert_eq!(client("::ffff:192.0.2.1", &[]), ip("192.0.2.1"));
    }

    #[test]
    fn behind_trusted_hops_the_last_untrusted_address_counts() {
        let chain = ["6.6.6.6, 203.0.113.9, 10.1.1.1"];
        assert_eq!(client("10.0.0.1", &chain), ip("203.0.113.9"));
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6", "203.0.113.9"]),
            ip("203.0.113.9")
        );
        assert_eq!(client("2001:db8::1", &["203.0.113.9"]), ip("203.0.113.9"));
        assert_eq!(client("10.0.0.1", &["10.0.0.2"]), ip("10.0.0.2"));
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9, unknown"]),
            ip("10.0.0.1")
        );
        assert_eq!(
            client("10.0.0.1", &["203.0.113.9, unknown, 10.0.0.2"]),
            ip("10.0.0.2")
        );
    }

    #[test]
    fn ports_brackets_and_zones_are_understood() {
        assert_eq!(client("10.0.0.1", &["203.0.113.9:4711"]), ip("203.0.113.9"));
        assert_eq!(
            client("10.0.0.1", &["[2001:db9::1]:443"]),
            ip("2001:db9::1")
        );
        assert_eq!(client("10.0.0.1", &["[2001:db9::1]"]), ip("2001:db9::1"));
        assert_eq!(client("10.0.0.1", &["fe80::1%eth0"]), ip("fe80::1"));
    }
}

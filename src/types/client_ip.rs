//! Pure. The address that a request is counted against, which no log may show.

use std::net::{IpAddr, Ipv6Addr};

use super::{Pseudonym, unprintable};

/// Who is at the other end, as the edge decided it: the socket's peer, or what a
/// trusted proxy said. IPv4-mapped IPv6 is unmapped (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct ClientIp(IpAddr);

unprintable!(ClientIp);

impl ClientIp {
    /// An IPv4-mapped IPv6 address becomes the IPv4 address that it is.
    pub fn new(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }

    /// The raw address, for the limiter's keys and the proxy rules only.
    pub fn expose(self) -> IpAddr {
        self.0
    }

    /// What a log at debug level may call it by.
    pub fn redacted(self) -> Pseudonym {
        match self.0 {
            IpAddr::V4(address) => Pseudonym::of("ClientIp", &address.octets()),
            IpAddr::V6(address) => Pseudonym::of("ClientIp", &address.octets()),
        }
    }

    /// What one subscriber can change at will counts as one: an IPv4 address, or
    /// an IPv6 /64 (RFC 6177: an end site gets at least a /64).
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let prefix = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(prefix))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_64_are_one_and_mapped_addresses_are_unmapped() {
        let ip = |text: &str| ClientIp::new(text.parse().unwrap());
        assert_eq!(
            ip("2001:db8::1").network(),
            ip("2001:db8::ffff:2").network()
        );
        assert_ne!(ip("2001:db8::1").network(), ip("2001:db8:0:1::1").network());
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }
}

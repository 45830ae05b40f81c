//! Keyed hashes in place of addresses and accounts. The key is random, lives in
//! memory only and is replaced daily (but for what is open, whose names go with it), so
//! a dump of the tables names nobody, and nobody can choose an address whose hash falls
//! where another's does.

use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use siphasher::sip128::{Hash128, Hasher128, SipHasher13};

use super::domain::Domain;
use crate::types::{ClientIp, Did, random_key};

/// A subject under a rule, as the tables know it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Blind(u64, u64);

impl Blind {
    /// Chooses the shard.
    pub(super) fn high(self) -> u64 {
        self.0
    }

    /// Tells the entries of a shard apart.
    pub(super) fn low(self) -> u64 {
        self.1
    }

    pub(super) fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.0) << 64 | u128::from(self.1)).to_be_bytes()
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self((both >> 64) as u64, both as u64)
    }
}

impl From<Hash128> for Blind {
    fn from(hash: Hash128) -> Self {
        Self(hash.h1, hash.h2)
    }
}

/// One key of SipHash-1-3 with 128 bits of output, as it takes it: the lower half first.
#[derive(Clone, Copy)]
pub(super) struct BlindKey(pub(super) u64, pub(super) u64);

impl BlindKey {
    pub(super) fn random() -> Self {
        Self::from_bytes(random_key())
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self(both as u64, (both >> 64) as u64)
    }

    fn hasher(self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }

    #[inline]
    pub(super) fn address(&self, domain: Domain, client: ClientIp) -> Blind {
        let (family, network) = network_bits(client);
        self.numbers(domain, family, network)
    }

    /// The wider network that shares one entry when the table is full: an IPv4 /16
    /// or an IPv6 /32, what one owner of many addresses is usually given.
    pub(super) fn wide_network(&self, domain: Domain, client: ClientIp) -> Blind {
        let (family, network) = network_bits(client);
        let host_bits = if family == 4 { 16 } else { 32 };
        self.numbers(domain, family + 10, network >> host_bits)
    }

    pub(super) fn account(&self, domain: Domain, did: &Did) -> Blind {
        let mut hasher = self.hasher();
        hasher.write_u8(domain);
        did.hash(&mut hasher);
        hasher.finish128().into()
    }

    pub(super) fn account_at(&self, domain: Domain, client: ClientIp, did: &Did) -> Blind {
        let (family, network) = network_bits(client);
        let mut hasher = self.hasher();
        hasher.write(&packed(domain, family, network));
        did.hash(&mut hasher);
        hasher.finish128().into()
    }

    fn numbers(&self, domain: Domain, family: u8, network: u64) -> Blind {
        self.hasher().hash(&packed(domain, family, network)).into()
    }
}

/// The address family, and an IPv4 address or the upper half of an IPv6 one.
fn network_bits(client: ClientIp) -> (u8, u64) {
    match client.network() {
        IpAddr::V4(address) => (4, u64::from(u32::from(address))),
        IpAddr::V6(address) => (6, (u128::from(address) >> 64) as u64),
    }
}

fn packed(domain: Domain, family: u8, network: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    let [first, second, rest @ ..] = &mut bytes;
    (*first, *second) = (domain, family);
    if let Some(last) = rest.last_chunk_mut() {
        *last = network.to_be_bytes();
    }
    bytes
}

/// The key in use and the one before it.
#[derive(Clone, Copy)]
pub(super) struct BlindKeys {
    pub(super) current: BlindKey,
    pub(super) previous: Option<BlindKey>,
}

impl BlindKeys {
    pub(super) fn random() -> Self {
        Self {
            current: BlindKey::random(),
            previous: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> ClientIp {
        ClientIp::new(text.parse().unwrap())
    }

    #[test]
    fn one_site_is_one_subject_and_rules_are_counted_apart() {
        let key = BlindKey::random();
        assert_eq!(
            key.address(1, ip("2001:db8::1")),
            key.address(1, ip("2001:db8::2"))
        );
        assert_ne!(
            key.address(1, ip("2001:db8::1")),
            key.address(1, ip("2001:db8:0:1::"))
        );
        assert_ne!(
            key.address(1, ip("192.0.2.1")),
            key.address(2, ip("192.0.2.1"))
        );
        assert_ne!(
            key.address(1, ip("0.0.0.1")),
            key.address(1, ip("0:0:0:1::"))
        );
        assert_eq!(
            key.wide_network(1, ip("192.0.2.1")),
            key.wide_network(1, ip("192.0.9.9"))
        );
    }

    #[test]
    fn another_key_gives_another_hash() {
        let did = Did::parse("did:plc:abc").unwrap();
        let (today, tomorrow) = (BlindKey::random(), BlindKey::random());
        assert_eq!(today.account(1, &did), today.account(1, &did));
        assert_ne!(today.account(1, &did), tomorrow.account(1, &did));
        assert_ne!(
            today.account_at(1, ip("192.0.2.1"), &did),
            today.account_at(1, ip("192.0.2.2"), &did)
        );
    }
}

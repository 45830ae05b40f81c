//! Pure. The MLS cipher suites that conversations may use: of RFC 9420 section 17.1, all but P-384's.

use serde::{Deserialize, Serialize};

/// A cipher suite by its IANA name on the wire and its IANA number in MLS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum CipherSuite {
    #[serde(rename = "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519")]
    X25519Aes128Ed25519 = 1,
    #[serde(rename = "MLS_128_DHKEMP256_AES128GCM_SHA256_P256")]
    P256Aes128 = 2,
    #[serde(rename = "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519")]
    X25519ChaCha20Ed25519 = 3,
    #[serde(rename = "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448")]
    X448Aes256Ed448 = 4,
    #[serde(rename = "MLS_256_DHKEMP521_AES256GCM_SHA512_P521")]
    P521Aes256 = 5,
    #[serde(rename = "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448")]
    X448ChaCha20Ed448 = 6,
}

impl CipherSuite {
    const ALL: [Self; 6] = [
        Self::X25519Aes128Ed25519,
        Self::P256Aes128,
        Self::X25519ChaCha20Ed25519,
        Self::X448Aes256Ed448,
        Self::P521Aes256,
        Self::X448ChaCha20Ed448,
    ];

    /// Its number in the registry of MLS (RFC 9420 section 17.1).
    pub fn number(self) -> u16 {
        self as u16
    }

    /// `None` for a suite that the lexicon does not name.
    pub fn from_number(number: u16) -> Option<Self> {
        let mut suites = Self::ALL.into_iter();
        suites.find(|suite| suite.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_is_found_by_its_number() {
        for suite in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_number(suite.number()), Some(suite));
        }
        assert_eq!(CipherSuite::from_number(0), None);
        assert_eq!(CipherSuite::from_number(7), None);
    }

    #[test]
    fn names_are_those_of_iana() {
        let named = |name: &str| serde_json::from_value::<CipherSuite>(name.into()).unwrap();
        let name = "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519";
        assert_eq!(named(name), CipherSuite::X25519Aes128Ed25519);
        assert_eq!(serde_json::to_value(named(name)).unwrap(), name);
    }
}

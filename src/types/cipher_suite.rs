//! Pure. The MLS cipher suites that conversations may use (RFC 9420 section 17.1).

use serde::{Deserialize, Serialize};

/// A cipher suite by its IANA name on the wire and its IANA number in MLS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum CipherSuite {
    #[serde(rename = "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519")]
    X25519Aes128Ed25519,
    #[serde(rename = "MLS_128_DHKEMP256_AES128GCM_SHA256_P256")]
    P256Aes128,
    #[serde(rename = "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519")]
    X25519ChaCha20Ed25519,
    #[serde(rename = "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448")]
    X448Aes256Ed448,
    #[serde(rename = "MLS_256_DHKEMP521_AES256GCM_SHA512_P521")]
    P521Aes256,
    #[serde(rename = "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448")]
    X448ChaCha20Ed448,
}

impl CipherSuite {
    /// Every suite with its number and its name.
    pub const ALL: [(Self, u16, &'static str); 6] = [
        (
            Self::X25519Aes128Ed25519,
            1,
            "MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519",
        ),
        (
            Self::P256Aes128,
            2,
            "MLS_128_DHKEMP256_AES128GCM_SHA256_P256",
        ),
        (
            Self::X25519ChaCha20Ed25519,
            3,
            "MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519",
        ),
        (
            Self::X448Aes256Ed448,
            4,
            "MLS_256_DHKEMX448_AES256GCM_SHA512_Ed448",
        ),
        (
            Self::P521Aes256,
            5,
            "MLS_256_DHKEMP521_AES256GCM_SHA512_P521",
        ),
        (
            Self::X448ChaCha20Ed448,
            6,
            "MLS_256_DHKEMX448_CHACHA20POLY1305_SHA512_Ed448",
        ),
    ];

    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, n, _)| *n == number)
            .map(|(suite, _, _)| *suite)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, _, n)| *n == name)
            .map(|(suite, _, _)| *suite)
    }

    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(suite, _, _)| *suite == self)
            .map_or("", |(_, _, name)| name)
    }

    /// Length of a hash reference (RFC 9420 section 5.2): that of the suite's hash.
    pub fn hash_len(self) -> usize {
        match self {
            Self::X25519Aes128Ed25519 | Self::P256Aes128 | Self::X25519ChaCha20Ed25519 => 32,
            Self::X448Aes256Ed448 | Self::P521Aes256 | Self::X448ChaCha20Ed448 => 64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_serde() {
        for (suite, number, name) in CipherSuite::ALL {
            assert_eq!(CipherSuite::from_number(number), Some(suite));
            assert_eq!(CipherSuite::from_name(name), Some(suite));
            assert_eq!(serde_json::to_value(suite).unwrap(), name);
        }
    }
}

//! Pure. `SignWithLabel` and `RefHash` (RFC 9420 sections 5.1.2 and 5.2): the only
//! two operations on public values that a delivery service can do for members.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::types::CipherSuite;

use super::reader::write_opaque;

/// Whether a signature is not by this key. The library knows no Ed448: members check, as they
/// always do. But a key of another length is none of Ed448.
pub(super) fn is_forged(
    suite: CipherSuite,
    key: &[u8],
    label: &str,
    content: &[u8],
    signature: &[u8],
) -> bool {
    let algorithm: &'static dyn VerificationAlgorithm = match suite {
        CipherSuite::X25519Aes128Ed25519 | CipherSuite::X25519ChaCha20Ed25519 => &ED25519,
        CipherSuite::P256Aes128 => &ECDSA_P256_SHA256_ASN1,
        CipherSuite::P521Aes256 => &ECDSA_P521_SHA512_ASN1,
        CipherSuite::X448Aes256Ed448 | CipherSuite::X448ChaCha20Ed448 => {
            return key.len() != ED448_KEY_LEN;
        }
    };
    let signed = labelled(label, content);
    let key = UnparsedPublicKey::new(algorithm, key);
    key.verify(&signed, signature).is_err()
}

/// RFC 8032 section 5.2.5.
const ED448_KEY_LEN: usize = 57;

/// The reference of a value: a hash under a label, of the suite's hash.
pub(super) fn ref_hash(suite: CipherSuite, label: &str, value: &[u8]) -> Vec<u8> {
    let algorithm = if suite.hash_len() == 32 {
        &SHA256
    } else {
        &SHA512
    };
    digest(algorithm, &labelled(label, value)).as_ref().to_vec()
}

/// `{opaque label<V> = "MLS 1.0 " + label; opaque content<V>}`.
fn labelled(label: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + label.len() + 16);
    write_opaque(&mut out, format!("MLS 1.0 {label}").as_bytes());
    write_opaque(&mut out, content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_checked_is_no_cover_for_the_key_of_another_suite() {
        let suite = CipherSuite::X448Aes256Ed448;
        let is_forged = |key: &[u8]| is_forged(suite, key, "LeafNodeTBS", b"", b"");
        assert!(!is_forged(&[7; ED448_KEY_LEN]));
        for other in [32, 65, 133] {
            assert!(is_forged(&vec![7; other]), "{other}");
        }
    }
}

//! Pure. `SignWithLabel` and `RefHash` (RFC 9420 sections 5.1.2 and 5.2): the only
//! two operations on public values that a delivery service can do for members.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};

use crate::types::CipherSuite;

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

/// The reference of a key package: a hash under a label, of the suite's hash.
pub(super) fn key_package_ref(suite: CipherSuite, bytes: &[u8]) -> Vec<u8> {
    let algorithm = match suite {
        CipherSuite::X25519Aes128Ed25519
        | CipherSuite::P256Aes128
        | CipherSuite::X25519ChaCha20Ed25519 => &SHA256,
        CipherSuite::X448Aes256Ed448 | CipherSuite::P521Aes256 | CipherSuite::X448ChaCha20Ed448 => {
            &SHA512
        }
    };
    let hashed = labelled("KeyPackage Reference", bytes);
    digest(algorithm, &hashed).as_ref().to_vec()
}

/// `{opaque label<V> = "MLS 1.0 " + label; opaque content<V>}`.
pub(super) fn labelled(label: &str, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + label.len() + 16);
    write_opaque(&mut out, format!("MLS 1.0 {label}").as_bytes());
    write_opaque(&mut out, content);
    out
}

/// Appends `opaque x<V>`. Lengths of 2^30 and more, which MLS cannot say, do not
/// occur: every caller's bytes came through a bounded request body.
fn write_opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    match length {
        0..0x40 => out.extend_from_slice(&length.to_be_bytes()[3..]),
        0x40..0x4000 => out.extend_from_slice(&(length | 0x4000).to_be_bytes()[2..]),
        _ => out.extend_from_slice(&(length | 0x8000_0000).to_be_bytes()),
    }
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mls::reader::Reader;

    #[test]
    fn what_is_written_is_read_back() {
        for size in [0, 1, 63, 64, 16_383, 16_384, 100_000] {
            let bytes = vec![7; size];
            let mut out = Vec::new();
            write_opaque(&mut out, &bytes);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.opaque(), Ok(bytes.as_slice()));
            assert_eq!(reader.end(), Ok(()));
        }
    }

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

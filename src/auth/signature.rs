//! Pure. Public keys of the two ATProto curves, and the one way in which they
//! check a signature (ATProto cryptography specification).
//!
//! Each curve has the library that is faster on it: AWS-LC has assembly for P-256 and
//! none for secp256k1, on which `k256` needs a third of its time.

use std::fmt;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use k256::ecdsa::signature::Verifier;
use k256::ecdsa::{Signature, VerifyingKey};

/// The `alg` of a token, and at once the curve of the only key that it fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Curve {
    /// `ES256`: NIST P-256.
    P256,
    /// `ES256K`: secp256k1.
    Secp256k1,
}

impl Curve {
    /// Reads a JWS `alg` (RFC 7518 section 3.1, RFC 8812 section 3.2). `none`,
    /// shared secrets and every other algorithm have no place here.
    pub(crate) fn of_alg(alg: &str) -> Option<Self> {
        match alg {
            "ES256" => Some(Self::P256),
            "ES256K" => Some(Self::Secp256k1),
            _ => None,
        }
    }

    /// Half of the group order, rounded down, big-endian: the largest S that
    /// ATProto allows.
    fn half_order(self) -> &'static [u8; SCALAR_LEN] {
        match self {
            Self::P256 => &P256_HALF_ORDER,
            Self::Secp256k1 => &SECP256K1_HALF_ORDER,
        }
    }
}

/// A point that has been checked to lie on its curve.
#[derive(Clone)]
pub(crate) struct PublicKey {
    curve: Curve,
    /// The compressed form, by which two keys are compared.
    point: [u8; COMPRESSED_LEN],
    parsed: Parsed,
}

/// The point as the library of its curve holds it.
#[derive(Clone)]
enum Parsed {
    P256(ParsedPublicKey),
    Secp256k1(VerifyingKey),
}

impl PublicKey {
    /// Takes a point in either form of SEC 1 section 2.3.3, if it is one of the curve.
    pub(crate) fn of_point(curve: Curve, bytes: &[u8]) -> Option<Self> {
        Some(Self {
            curve,
            point: compress(bytes)?,
            parsed: Parsed::of_point(curve, bytes)?,
        })
    }

    pub(crate) fn curve(&self) -> Curve {
        self.curve
    }

    /// Whether `signature` (R and S, 64 bytes) over `message` is of this key,
    /// made with the algorithm that the token names, and in its one allowed
    /// form: with S in the lower half, nobody can make a second valid token out
    /// of a first.
    pub(crate) fn verifies(&self, alg: Curve, message: &[u8], signature: &[u8]) -> bool {
        let Some((_, s)) = signature.split_at_checked(SCALAR_LEN) else {
            return false;
        };
        alg == self.curve
            && s.len() == SCALAR_LEN
            && s <= self.curve.half_order().as_slice()
            && self.parsed.verifies(message, signature)
    }
}

impl Parsed {
    fn of_point(curve: Curve, bytes: &[u8]) -> Option<Self> {
        match curve {
            Curve::P256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, bytes)
                .ok()
                .map(Self::P256),
            Curve::Secp256k1 => VerifyingKey::from_sec1_bytes(bytes)
                .ok()
                .map(Self::Secp256k1),
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => key.verify_sig(message, signature).is_ok(),
            Self::Secp256k1(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify(message, &signature).is_ok()),
        }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.curve == other.curve && self.point == other.point
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A public key names its account as well as the DID does.
        write!(f, "PublicKey({:?})", self.curve)
    }
}

/// The compressed form of a point in either form; whether it is on a curve is
/// for the parser to say.
fn compress(bytes: &[u8]) -> Option<[u8; COMPRESSED_LEN]> {
    let (tag, rest) = bytes.split_first()?;
    let (tag, x) = match (tag, rest.len()) {
        (2 | 3, SCALAR_LEN) => (*tag, rest),
        (4, UNCOMPRESSED_REST_LEN) => (2 | (rest.last()? & 1), rest.split_at(SCALAR_LEN).0),
        _ => return None,
    };
    let mut point = [tag; COMPRESSED_LEN];
    point.get_mut(1..)?.copy_from_slice(x);
    Some(point)
}

/// Both curves are over 256-bit fields.
const SCALAR_LEN: usize = 32;
const COMPRESSED_LEN: usize = 1 + SCALAR_LEN;
const UNCOMPRESSED_REST_LEN: usize = 2 * SCALAR_LEN;

/// SEC 2 section 2.4.2, the order of P-256 shifted right by one.
const P256_HALF_ORDER: [u8; SCALAR_LEN] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// SEC 2 section 2.4.1, the order of secp256k1 shifted right by one.
const SECP256K1_HALF_ORDER: [u8; SCALAR_LEN] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

#[cfg(test)]
mod tests {
    use mls_relay_loadtest::identity::{Curve as KeyCurve, SigningKey};

    use super::*;

    const CURVES: [(Curve, KeyCurve); 2] = [
        (Curve::P256, KeyCurve::P256),
        (Curve::Secp256k1, KeyCurve::Secp256k1),
    ];

    #[test]
    fn a_signature_is_good_for_its_message_its_key_and_its_algorithm_only() {
        for (curve, key_curve) in CURVES {
            let signer = SigningKey::generate(key_curve).unwrap();
            let stranger = SigningKey::generate(key_curve).unwrap();
            let key = PublicKey::of_point(curve, &signer.compressed()).unwrap();
            let signature = signer.sign(b"message").unwrap();
            let other = match curve {
                Curve::P256 => Curve::Secp256k1,
                Curve::Secp256k1 => Curve::P256,
            };
            assert!(key.verifies(curve, b"message", &signature));
            assert!(!key.verifies(curve, b"massage", &signature));
            assert!(!key.verifies(other, b"message", &signature));
            assert!(!key.verifies(curve, b"message", &stranger.sign(b"message").unwrap()));
            for len in [0, 1, 31, 32, 33, 63] {
                assert!(!key.verifies(curve, b"message", &signature[..len]));
            }
            let long = [signature.as_slice(), &[0]].concat();
            assert!(!key.verifies(curve, b"message", &long));
            assert!(!key.verifies(curve, b"message", &[0; 64]));
        }
    }

    #[test]
    fn the_upper_half_of_s_is_refused_on_both_curves() {
        for (curve, key_curve) in CURVES {
            let signer = SigningKey::generate(key_curve).unwrap();
            let key = PublicKey::of_point(curve, &signer.compressed()).unwrap();
            let signature = signer.sign_high_s(b"message").unwrap();
            assert!(!key.verifies(curve, b"message", &signature));
        }
    }

    #[test]
    fn a_key_is_the_same_in_both_forms_of_its_point() {
        for (curve, key_curve) in CURVES {
            let signer = SigningKey::generate(key_curve).unwrap();
            let short = PublicKey::of_point(curve, &signer.compressed()).unwrap();
            let long = PublicKey::of_point(curve, signer.uncompressed()).unwrap();
            assert!(short == long);
            let signature = signer.sign(b"message").unwrap();
            assert!(long.verifies(curve, b"message", &signature));
        }
    }

    #[test]
    fn what_is_not_on_the_curve_is_no_key() {
        for (curve, key_curve) in CURVES {
            let signer = SigningKey::generate(key_curve).unwrap();
            let mut off = signer.uncompressed().to_vec();
            off[64] ^= 2;
            for bytes in [&off, &Vec::new(), &vec![2; 32], &vec![5; 33], &vec![4; 66]] {
                assert!(PublicKey::of_point(curve, bytes).is_none());
            }
        }
    }
}

//! An account of the local world: a DID, a signing key, the DID document that
//! names the key, and the service tokens that the account's PDS would mint.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P256K1_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The two curves of ATProto signing keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Curve {
    P256,
    Secp256k1,
}

/// Only the random source or the signer can fail, and neither does in practice.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the cryptographic library refused")]
pub struct IdentityError;

impl From<aws_lc_rs::error::Unspecified> for IdentityError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

/// A key pair on one of the curves.
#[derive(Debug)]
pub struct SigningKey {
    curve: Curve,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl SigningKey {
    pub fn generate(curve: Curve) -> Result<Self, IdentityError> {
        let algorithm = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Curve::Secp256k1 => &ECDSA_P256K1_SHA256_FIXED_SIGNING,
        };
        Ok(Self {
            curve,
            pair: EcdsaKeyPair::generate(algorithm)?,
            random: SystemRandom::new(),
        })
    }

    /// The JWS `alg` of this key.
    pub fn alg(&self) -> &'static str {
        match self.curve {
            Curve::P256 => "ES256",
            Curve::Secp256k1 => "ES256K",
        }
    }

    /// The point as SEC 1 writes it uncompressed: 4, X, Y.
    pub fn uncompressed(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The point as SEC 1 writes it compressed: the parity of Y, then X.
    pub fn compressed(&self) -> Vec<u8> {
        let point = self.uncompressed();
        let odd = point.last().is_some_and(|byte| byte & 1 == 1);
        let x = point.get(1..33).unwrap_or_default();
        [&[if odd { 3 } else { 2 }], x].concat()
    }

    /// `publicKeyMultibase` of a `Multikey`: base58btc of codec and point.
    pub fn multikey(&self) -> String {
        let codec = match self.curve {
            Curve::P256 => [0x80, 0x24],
            Curve::Secp256k1 => [0xe7, 0x01],
        };
        let bytes = [codec.as_slice(), &self.compressed()].concat();
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// R and S in 64 bytes, with S in the lower half of the order, as ATProto
    /// requires on both curves.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; 64], IdentityError> {
        let signature = self.pair.sign(&self.random, message)?;
        let mut bytes: [u8; 64] = signature.as_ref().try_into().map_err(|_| IdentityError)?;
        let (_, s) = bytes.split_at_mut(32);
        let mirrored = minus(&self.order(), s);
        if mirrored.as_slice() < &*s {
            s.copy_from_slice(&mirrored);
        }
        Ok(bytes)
    }

    /// The same signature with S in the upper half: right in mathematics, wrong
    /// in ATProto. For tests of refusals.
    pub fn sign_high_s(&self, message: &[u8]) -> Result<[u8; 64], IdentityError> {
        let mut bytes = self.sign(message)?;
        let (_, s) = bytes.split_at_mut(32);
        let mirrored = minus(&self.order(), s);
        s.copy_from_slice(&mirrored);
        Ok(bytes)
    }

    fn order(&self) -> [u8; 32] {
        match self.curve {
            Curve::P256 => P256_ORDER,
            Curve::Secp256k1 => SECP256K1_ORDER,
        }
    }
}

/// An account: its DID and the key that its document names.
#[derive(Debug)]
pub struct Account {
    did: String,
    key: SigningKey,
}

impl Account {
    /// A new account with a `did:plc` of its own and a fresh key.
    pub fn generate(curve: Curve) -> Result<Self, IdentityError> {
        let mut seed = [0_u8; 15];
        SystemRandom::new().fill(&mut seed)?;
        Self::with_did(&format!("did:plc:{}", base32(seed)), curve)
    }

    /// A new account under a given DID, such as a `did:web`.
    pub fn with_did(did: &str, curve: Curve) -> Result<Self, IdentityError> {
        Ok(Self {
            did: did.to_owned(),
            key: SigningKey::generate(curve)?,
        })
    }

    pub fn did(&self) -> &str {
        &self.did
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Takes a new key, as an account that moves to another PDS does. The
    /// directory serves the old one until the account is published again.
    pub fn rotate(&mut self, curve: Curve) -> Result<(), IdentityError> {
        self.key = SigningKey::generate(curve)?;
        Ok(())
    }

    /// The DID document, as the PLC directory serves it.
    pub fn document(&self) -> Value {
        json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": self.did,
            "alsoKnownAs": [],
            "verificationMethod": [{
                "id": format!("{}#atproto", self.did),
                "type": "Multikey",
                "controller": self.did,
                "publicKeyMultibase": self.key.multikey(),
            }],
            "service": [],
        })
    }

    /// A service token for one call of one service, good for `ttl` from now.
    pub fn service_token(
        &self,
        aud: &str,
        lxm: &str,
        ttl: Duration,
    ) -> Result<String, IdentityError> {
        let claims = self.claims(aud, lxm, ttl)?;
        self.sign_token(&json!({"typ": "JWT", "alg": self.key.alg()}), &claims)
    }

    /// The claims of such a token, with a fresh nonce. Tests bend them.
    pub fn claims(&self, aud: &str, lxm: &str, ttl: Duration) -> Result<Value, IdentityError> {
        let now = unix_seconds();
        let mut nonce = [0_u8; 16];
        SystemRandom::new().fill(&mut nonce)?;
        Ok(json!({
            "iss": self.did,
            "aud": aud,
            "lxm": lxm,
            "iat": now,
            "exp": now.saturating_add(ttl.as_secs()),
            "jti": format!("{:032x}", u128::from_be_bytes(nonce)),
        }))
    }

    /// Signs any header and claims with this account's key (RFC 7515 section 3.1).
    pub fn sign_token(&self, header: &Value, claims: &Value) -> Result<String, IdentityError> {
        let input = signing_input(header, claims);
        let signature = self.key.sign(input.as_bytes())?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// Header and claims as they are signed: two base64url texts and a dot.
pub fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Seconds since 1970.
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// 120 bits as 24 characters of lower-case base32, the form of a `did:plc`.
fn base32(bytes: [u8; 15]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = bytes
        .iter()
        .fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    (0..24)
        .rev()
        .map(|place| char::from(ALPHABET[(bits >> (place * 5) & 31) as usize]))
        .collect()
}

/// `from - take`, big-endian; `take` is the smaller.
fn minus(from: &[u8; 32], take: &[u8]) -> [u8; 32] {
    let mut difference = *from;
    let mut borrow = false;
    for (byte, less) in difference.iter_mut().zip(take).rev() {
        let (first, under) = byte.overflowing_sub(*less);
        let (second, under_again) = first.overflowing_sub(u8::from(borrow));
        *byte = second;
        borrow = under || under_again;
    }
    difference
}

/// The order of the base point of P-256 (SEC 2 section 2.4.2).
const P256_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The order of the base point of secp256k1 (SEC 2 section 2.4.1).
const SECP256K1_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
    0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, UnparsedPublicKey,
    };

    use super::*;

    #[test]
    fn both_halves_of_s_verify_and_the_usual_one_is_the_lower() {
        for curve in [Curve::P256, Curve::Secp256k1] {
            let key = SigningKey::generate(curve).unwrap();
            let algorithm = match curve {
                Curve::P256 => &ECDSA_P256_SHA256_FIXED,
                Curve::Secp256k1 => &ECDSA_P256K1_SHA256_FIXED,
            };
            let public = UnparsedPublicKey::new(algorithm, key.compressed());
            for _ in 0..8 {
                let low = key.sign(b"message").unwrap();
                let high = key.sign_high_s(b"message").unwrap();
                assert!(public.verify(b"message", &low).is_ok());
                assert!(public.verify(b"message", &high).is_ok());
                assert!(low[32] < 0x80);
                assert!(high[32] >= 0x7f);
            }
        }
    }

    #[test]
    fn a_did_has_the_form_of_the_directory() {
        let account = Account::generate(Curve::P256).unwrap();
        let id = account.did().strip_prefix("did:plc:").unwrap();
        assert_eq!(id.len(), 24);
        assert!(id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7')));
        assert_eq!(base32([0; 15]), "a".repeat(24));
        assert_eq!(base32([0xff; 15]), "7".repeat(24));
    }

    #[test]
    fn a_token_has_three_parts() {
        let account = Account::generate(Curve::Secp256k1).unwrap();
        let token = account
            .service_token("did:web:relay.test", "a.b.c", Duration::from_secs(60))
            .unwrap();
        assert_eq!(token.split('.').count(), 3);
    }
}

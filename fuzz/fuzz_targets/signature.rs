//! Keys and signatures of both curves. Another library than the one that checks them here
//! finds the same points on the curve and the same signatures good, where S is low.

#![cfg_attr(fuzzing, no_main)]

use aws_lc_rs::signature::{ECDSA_P256K1_SHA256_FIXED, ParsedPublicKey, UnparsedPublicKey};
use mls_relay::auth::fuzzing::Key;
use p256::ecdsa::signature::{Signer, Verifier};

/// What is looked at; then a point, or 64 bytes that spoil a signature and a message.
pub(crate) fn run(data: &[u8]) {
    let Some((shape, data)) = data.split_first() else {
        return;
    };
    let is_mirrored = shape & 0x80 != 0;
    match (shape % 4, data.split_first_chunk::<64>()) {
        (0, _) => p256_point(data),
        (1, _) => secp256k1_point(data),
        (2, Some((spoils, message))) => p256_signature(is_mirrored, spoils, message),
        (3, Some((spoils, message))) => secp256k1_signature(is_mirrored, spoils, message),
        _ => {}
    }
}

/// Compressed or not: ATProto has no other form.
fn has_form(point: &[u8]) -> bool {
    matches!(
        (point.first(), point.len()),
        (Some(2 | 3), 33) | (Some(4), 65)
    )
}

fn p256_point(point: &[u8]) {
    let is_on_curve = has_form(point) && p256::PublicKey::from_sec1_bytes(point).is_ok();
    assert_eq!(Key::of_point("ES256", point).is_some(), is_on_curve);
}

fn secp256k1_point(point: &[u8]) {
    let parsed = ParsedPublicKey::new(&ECDSA_P256K1_SHA256_FIXED, point);
    let is_on_curve = has_form(point) && parsed.is_ok();
    assert_eq!(Key::of_point("ES256K", point).is_some(), is_on_curve);
}

fn p256_signature(is_mirrored: bool, spoils: &[u8; 64], message: &[u8]) {
    use p256::ecdsa::{Signature, SigningKey};
    let signer = SigningKey::from_slice(&[7; 32]).unwrap();
    let signature: Signature = signer.sign(message);
    let low = signature.normalize_s().unwrap_or(signature);
    let mirrored = Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
    let signature = if is_mirrored { mirrored } else { low };
    let signature = spoilt(signature.to_bytes().into(), spoils);
    let is_good = Signature::from_slice(&signature).is_ok_and(|signature| {
        signature.normalize_s().is_none()
            && signer.verifying_key().verify(message, &signature).is_ok()
    });
    let point = signer.verifying_key().to_encoded_point(true);
    let key = Key::of_point("ES256", point.as_bytes()).unwrap();
    assert_eq!(key.verifies("ES256", message, &signature), is_good);
    assert!(!key.verifies("ES256K", message, &signature));
}

fn secp256k1_signature(is_mirrored: bool, spoils: &[u8; 64], message: &[u8]) {
    use k256::ecdsa::{Signature, SigningKey};
    let signer = SigningKey::from_slice(&[7; 32]).unwrap();
    let low: Signature = signer.sign(message);
    let mirrored = Signature::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
    let signature = if is_mirrored { mirrored } else { low };
    let signature = spoilt(signature.to_bytes().into(), spoils);
    let point = signer.verifying_key().to_encoded_point(true);
    let theirs = UnparsedPublicKey::new(&ECDSA_P256K1_SHA256_FIXED, point.as_bytes());
    let is_low = Signature::from_slice(&signature).is_ok_and(|one| one.normalize_s().is_none());
    let is_good = is_low && theirs.verify(message, &signature).is_ok();
    let key = Key::of_point("ES256K", point.as_bytes()).unwrap();
    assert_eq!(key.verifies("ES256K", message, &signature), is_good);
    assert!(!key.verifies("ES256", message, &signature));
}

fn spoilt(mut signature: [u8; 64], spoils: &[u8; 64]) -> [u8; 64] {
    for (byte, spoil) in signature.iter_mut().zip(spoils) {
        *byte ^= spoil;
    }
    signature
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

//! Pure. SHA-256.

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(&digest(&SHA256, bytes))
}

/// Of these parts, in their order, with their lengths: they cannot run into each other.
pub(crate) fn sha256_of(parts: &[impl AsRef<[u8]>]) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        let part = part.as_ref();
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    array(&hash.finish())
}

fn array(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

//! Pure. SHA-256 and what is made of it, and bytes in digits.

use std::fmt::Write;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use uuid::Builder;

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

/// A name that follows from what it names: a UUID (RFC 9562 section 5.8) made of the SHA-256 of
/// these parts, in their order.
pub fn uuid_of(parts: &[&[u8]]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sha256_of(parts)[..16]);
    let uuid = Builder::from_custom_bytes(bytes).into_uuid();
    uuid.hyphenated().to_string()
}

/// Bytes in lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut digits = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_uuid_and_another_one_for_other_parts() {
        let name = uuid_of(&[b"ab", b"c"]);
        assert_eq!(name, uuid_of(&[b"ab", b"c"]));
        let parsed = uuid::Uuid::try_parse(&name).unwrap();
        assert_eq!(parsed.get_version_num(), 8);
        assert_ne!(name, uuid_of(&[b"a", b"bc"]));
        assert_ne!(name, uuid_of(&[b"abc"]));
    }
}

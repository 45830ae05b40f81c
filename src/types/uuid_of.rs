//! Pure. Names that follow from what they name, so that who says it twice names one thing.

use aws_lc_rs::digest::{Context, SHA256};
use uuid::Builder;

/// A UUID (RFC 9562 section 5.8) made of the SHA-256 of these parts, in their order.
pub fn uuid_of(parts: &[&[u8]]) -> String {
    let mut hash = Context::new(&SHA256);
    for part in parts {
        // With their lengths, so that the parts cannot run into each other.
        hash.update(&part.len().to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
    let uuid = Builder::from_custom_bytes(bytes).into_uuid();
    uuid.hyphenated().to_string()
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

//! Pure. Names that follow from what they name: what is said twice has one name.

use uuid::Builder;

use super::sha256_of;

/// A UUID (RFC 9562 section 5.8) made of the SHA-256 of these parts, in their order.
pub fn uuid_of(parts: &[&[u8]]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&sha256_of(parts)[..16]);
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

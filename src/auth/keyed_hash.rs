//! Pure. Hashes under the ticket secret: where that is not in the database, whoever reads the
//! database cannot tell what was hashed by trying.

use aws_lc_rs::hmac;

use super::TicketSecret;
use crate::types::unprintable;

/// Hashes texts for one purpose.
pub(super) struct KeyedHash(hmac::Key);

unprintable!(KeyedHash);

impl KeyedHash {
    /// What is hashed for one purpose is never what was hashed for another, nor a ticket: those
    /// hold no NUL.
    pub(super) fn new(secret: &TicketSecret, purpose: &'static str) -> Self {
        let master = hmac::Key::new(hmac::HMAC_SHA256, secret.bytes());
        let own = hmac::sign(&master, format!("{purpose}\0").as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
    }

    /// The hash of these together. None of them may hold a NUL.
    pub(super) fn of(&self, parts: &[&str]) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(hmac::sign(&self.0, parts.join("\0").as_bytes()).as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_purpose_or_order_is_another_hash() {
        let hash = |secret, purpose, parts: [&str; 2]| {
            KeyedHash::new(&TicketSecret::new([secret; 32]), purpose).of(&parts)
        };
        let first = hash(1, "claims", ["did:plc:a", "did:plc:b"]);
        assert_eq!(first, hash(1, "claims", ["did:plc:a", "did:plc:b"]));
        assert_ne!(first, hash(2, "claims", ["did:plc:a", "did:plc:b"]));
        assert_ne!(first, hash(1, "others", ["did:plc:a", "did:plc:b"]));
        assert_ne!(first, hash(1, "claims", ["did:plc:b", "did:plc:a"]));
    }
}

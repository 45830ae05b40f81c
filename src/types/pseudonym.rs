//! Pure. What a log may call an identity by: the same name for the same identity as
//! long as this process lives, and no name that means anything to anybody else.

use std::fmt;
use std::hash::Hasher;
use std::sync::OnceLock;

use siphasher::sip::SipHasher13;

/// A keyed hash of an identity, to follow it through a log at debug level. The key is
/// random and lives in this process only, so a log cannot be matched with known DIDs,
/// nor with the log of another node or of yesterday.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pseudonym {
    kind: &'static str,
    hash: u32,
}

impl Pseudonym {
    pub(super) fn of(kind: &'static str, identity: &[u8]) -> Self {
        let mut hasher = SipHasher13::new_with_key(key());
        hasher.write(kind.as_bytes());
        hasher.write_u8(0);
        hasher.write(identity);
        // 32 bits tell thousands of identities apart, and more would help only a guesser.
        let hash = hasher.finish() as u32;
        Self { kind, hash }
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{:08x}", self.kind, self.hash)
    }
}

fn key() -> &'static [u8; 16] {
    static KEY: OnceLock<[u8; 16]> = OnceLock::new();
    KEY.get_or_init(random_key)
}

/// A key from the system's generator. A v4 UUID fixes six bits: two make 128 that nobody foresees.
pub(crate) fn random_key() -> [u8; 16] {
    let [one, other] = [(); 2].map(|()| uuid::Uuid::new_v4().as_u128());
    (one ^ other.rotate_left(64)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_identity_has_one_name_and_another_has_another() {
        let name = |identity: &str| Pseudonym::of("Did", identity.as_bytes()).to_string();
        assert_eq!(name("did:plc:abc"), name("did:plc:abc"));
        assert_ne!(name("did:plc:abc"), name("did:plc:abd"));
        assert!(name("did:plc:abc").starts_with("Did~"));
        assert_eq!(name("did:plc:abc").len(), "Did~".len() + 8);
    }

    #[test]
    fn what_is_of_another_kind_has_another_name() {
        let hash = |kind| Pseudonym::of(kind, b"ab").hash;
        assert_ne!(hash("ConvoId"), hash("Jti"));
    }
}

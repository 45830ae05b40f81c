//! Pure. Identifiers that name people, groups, devices and messages. `Debug`
//! prints a constant and there is no `Display`, so that no format string, span
//! or error can put an identity in a log; the raw text needs `expose()`, and a log
//! that must tell one account from another has `redacted()`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Pseudonym, hex, unprintable, uuid_of};

/// Why a text is not the identifier it should be. Never echoes the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IdentifierError {
    #[error("must be a DID such as did:plc:… or did:web:…")]
    Did,
    #[error("must be at most {0} characters")]
    TooLong(usize),
    #[error("must be the MLS group id in lower-case hex, 2 to 128 characters")]
    ConvoId,
    #[error("must be a ULID, 26 upper-case characters of Crockford base32")]
    MessageId,
    #[error("must be a UUID in lower-case hyphenated form")]
    DeviceId,
    #[error("must be a nonce of 1 to 128 printable characters")]
    Jti,
}

/// Declares a redacted text newtype around a parser that only looks.
macro_rules! redacted_text {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Box<str>);

        impl $name {
            /// Parses the text; the error says what was wrong, never what was sent.
            pub fn parse(input: &str) -> Result<Self, IdentifierError> {
                $check(input)?;
                Ok(Self(input.into()))
            }

            /// The raw text, for the wire and for Postgres only.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        unprintable!($name);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::parse(&text).map_err(de::Error::custom)
            }
        }
    };
}

redacted_text!(
    /// An account's decentralized identifier, in the syntax of the ATProto DID
    /// specification, without a fragment.
    Did,
    check_did
);
redacted_text!(
    /// A conversation: the MLS group id (RFC 9420 section 8.1) in lower-case hex.
    ConvoId,
    check_convo_id
);
redacted_text!(
    /// A message's client-chosen ULID, unique within its conversation.
    MessageId,
    check_message_id
);
redacted_text!(
    /// One device of an account, a UUID.
    DeviceId,
    check_device_id
);
redacted_text!(
    /// The single-use nonce of a service token (RFC 7519 section 4.1.7).
    Jti,
    check_jti
);

impl Did {
    /// What a log at debug level may call it by.
    pub fn redacted(&self) -> Pseudonym {
        Pseudonym::of("Did", self.0.as_bytes())
    }
}

impl DeviceId {
    /// What a device is called that has not named itself: it follows from its account and
    /// its signature key, so that a device that registers twice is one device.
    pub fn of_key(user: &Did, signature_key: &[u8]) -> Self {
        Self(uuid_of(&[user.0.as_bytes(), signature_key]).into())
    }
}

impl MessageId {
    /// A ULID of the relay's own, for messages that a client did not name.
    /// Its time part is floored like every time that leaves the relay.
    pub fn random(at: super::CoarseTime) -> Self {
        let entropy = uuid::Uuid::new_v4().as_u128();
        let millis = u64::try_from(at.unix_seconds()).unwrap_or(0) * 1000;
        Self(ulid::Ulid::from_parts(millis, entropy).to_string().into())
    }
}

impl ConvoId {
    /// The conversation of an MLS group id.
    pub fn of_group(group_id: &[u8]) -> Result<Self, IdentifierError> {
        Self::parse(&hex(group_id))
    }
}

/// An MLS group's epoch, as the delivery service counts it.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

impl Epoch {
    /// Epochs stay below 2^53, so that JSON numbers carry them exactly.
    pub const MAX: u64 = (1 << 53) - 1;

    pub fn get(self) -> u64 {
        self.0
    }

    /// The epoch that a commit made in this one leads to.
    #[must_use]
    pub fn next(self) -> Self {
        Self((self.0 + 1).min(Self::MAX))
    }
}

impl TryFrom<u64> for Epoch {
    type Error = &'static str;

    fn try_from(value: u64) -> Result<Self, Self::Error> {
        if value > Self::MAX {
            return Err("must be an epoch below 2^53");
        }
        Ok(Self(value))
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

/// Tighter than the 2 KiB of the specification: `did:plc` has 32 characters
/// and `did:web` at most 8 + 253, and an envelope must fit a notification.
const DID_LEN_MAX: usize = 512;
const CONVO_ID_LEN_MAX: usize = 128;
const JTI_LEN_MAX: usize = 128;

fn holds(it: bool, else_error: IdentifierError) -> Result<(), IdentifierError> {
    it.then_some(()).ok_or(else_error)
}

fn check_did(input: &str) -> Result<(), IdentifierError> {
    if input.len() > DID_LEN_MAX {
        return Err(IdentifierError::TooLong(DID_LEN_MAX));
    }
    let rest = input.strip_prefix("did:").ok_or(IdentifierError::Did)?;
    let (method, id) = rest.split_once(':').ok_or(IdentifierError::Did)?;
    let method_ok = !method.is_empty() && method.bytes().all(|b| b.is_ascii_lowercase());
    let id_ok = !id.is_empty()
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b':' | b'%' | b'-'))
        && !id.ends_with([':', '%']);
    holds(method_ok && id_ok, IdentifierError::Did)
}

fn check_convo_id(input: &str) -> Result<(), IdentifierError> {
    let length_ok = (2..=CONVO_ID_LEN_MAX).contains(&input.len()) && input.len().is_multiple_of(2);
    let hex_ok = input
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    holds(length_ok && hex_ok, IdentifierError::ConvoId)
}

fn check_message_id(input: &str) -> Result<(), IdentifierError> {
    let alphabet = |b: u8| {
        b.is_ascii_digit() || (b.is_ascii_uppercase() && !matches!(b, b'I' | b'L' | b'O' | b'U'))
    };
    let bytes = input.as_bytes();
    // 26 characters hold 130 bits, so the first is at most 7 (ULID specification).
    let fits = bytes.len() == 26 && bytes.first() <= Some(&b'7');
    holds(
        fits && bytes.iter().all(|b| alphabet(*b)),
        IdentifierError::MessageId,
    )
}

fn check_device_id(input: &str) -> Result<(), IdentifierError> {
    let lower = !input.bytes().any(|b| b.is_ascii_uppercase());
    let hyphenated = input.len() == 36 && uuid::Uuid::try_parse(input).is_ok();
    holds(lower && hyphenated, IdentifierError::DeviceId)
}

fn check_jti(input: &str) -> Result<(), IdentifierError> {
    let printable = input.bytes().all(|b| b.is_ascii_graphic());
    let length_ok = (1..=JTI_LEN_MAX).contains(&input.len());
    holds(length_ok && printable, IdentifierError::Jti)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_the_identity() {
        let did = Did::parse("did:plc:abc").unwrap();
        assert_eq!(format!("{did:?}"), "Did(~)");
    }

    #[test]
    fn a_did_follows_the_atproto_syntax() {
        for good in [
            "did:plc:abc",
            "did:web:example.com",
            "did:web:localhost%3A8080",
        ] {
            assert!(Did::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "did",
            "did:plc",
            "did:plc:",
            "did:PLC:abc",
            "plc:abc",
            "did:plc:a b",
        ] {
            assert_eq!(Did::parse(bad), Err(IdentifierError::Did), "{bad}");
        }
    }

    #[test]
    fn a_refusal_does_not_echo_the_input() {
        let error = serde_json::from_str::<Did>("\"plc:secret\"").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_convo_id_is_the_group_id_in_hex() {
        assert_eq!(ConvoId::of_group(&[0xab, 1]).unwrap().expose(), "ab01");
        assert!(ConvoId::parse("AB").is_err());
        assert!(ConvoId::parse("abc").is_err());
        assert!(ConvoId::parse("").is_err());
    }

    #[test]
    fn a_message_id_is_a_ulid() {
        assert!(MessageId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").is_ok());
        assert!(MessageId::parse("01arz3ndektsv4rrffq69g5fav").is_err());
        assert!(MessageId::parse("81ARZ3NDEKTSV4RRFFQ69G5FAV").is_err());
        assert!(MessageId::parse("01ARZ3NDEKTSV4RRFFQ69G5FA").is_err());
    }
}

//! Pure. Bytes in JSON: the ATProto data model's `{"$bytes": base64}`, and base64
//! in strings. One codec for every field.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::types::{hex, unprintable};

/// Bytes that a client sent, at least `MIN` and at most `MAX` of them. Read from
/// `{"$bytes": …}` or a string, in base64 or base64url, padded or not.
#[derive(Clone, Eq, PartialEq)]
pub struct Blob<const MIN: usize, const MAX: usize>(Bytes);

impl<const MIN: usize, const MAX: usize> Blob<MIN, MAX> {
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    fn checked(text: &str) -> Result<Self, String> {
        // Four characters for three bytes: refuse before decoding what is too long.
        if text.len() / 4 > MAX / 3 + 1 {
            return Err(format!("must be {MIN} to {MAX} bytes"));
        }
        let bytes = decode(text).ok_or("must be base64 or base64url")?;
        if !(MIN..=MAX).contains(&bytes.len()) {
            return Err(format!("must be {MIN} to {MAX} bytes, not {}", bytes.len()));
        }
        Ok(Self(bytes.into()))
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Blob<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blob(~)")
    }
}

/// As it goes out everywhere: see [`BytesOut`].
impl<const MIN: usize, const MAX: usize> Serialize for Blob<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BytesOut(self.0.clone()).serialize(serializer)
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Blob<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BlobVisitor)
    }
}

struct BlobVisitor<const MIN: usize, const MAX: usize>;

impl<'de, const MIN: usize, const MAX: usize> Visitor<'de> for BlobVisitor<MIN, MAX> {
    type Value = Blob<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"$bytes\":…} or text, in base64")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Blob::checked(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wanted = || de::Error::custom("must be {\"$bytes\":…} with no other key");
        let key: Option<String> = map.next_key()?;
        if key.as_deref() != Some(BYTES_KEY) {
            return Err(wanted());
        }
        let text: std::borrow::Cow<'de, str> = map.next_value()?;
        let blob = Blob::checked(&text).map_err(de::Error::custom)?;
        match map.next_key::<de::IgnoredAny>()? {
            None => Ok(blob),
            Some(_) => Err(wanted()),
        }
    }
}

/// Bytes that the relay gives out where the lexicon says `bytes`: `{"$bytes": …}`
/// in JSON, without padding.
#[derive(Clone)]
pub struct BytesOut(pub Bytes);

unprintable!(BytesOut);

impl Serialize for BytesOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            // CBOR has byte strings of its own.
            return serializer.serialize_bytes(&self.0);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(BYTES_KEY, &STANDARD_NO_PAD.encode(&self.0))?;
        map.end()
    }
}

/// Bytes that the relay gives out where the lexicon says `string`: base64url
/// without padding.
#[derive(Clone)]
pub struct TextBytesOut(pub Vec<u8>);

unprintable!(TextBytesOut);

impl Serialize for TextBytesOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

/// A SHA-256 in hex, as clients name key packages.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Sha256Hex(pub [u8; 32]);

unprintable!(Sha256Hex);

impl Serialize for Sha256Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Sha256Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse_hex(&text)
            .map(Self)
            .ok_or_else(|| de::Error::custom("must be a SHA-256 in 64 hex digits"))
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = (*byte << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(out)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let url_safe = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe {
        &URL_SAFE_ANY
    } else {
        &STANDARD_ANY
    };
    engine.decode(text).ok()
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_ANY: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const URL_SAFE_ANY: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);
const BYTES_KEY: &str = "$bytes";

#[cfg(test)]
mod tests {
    use super::*;

    type Small = Blob<1, 8>;

    fn read(json: &str) -> Result<Vec<u8>, String> {
        serde_json::from_str::<Small>(json)
            .map(|blob| blob.as_slice().to_vec())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_of_base64_is_read() {
        let bytes = vec![0xfb, 0xff, 0xfe, 0x01];
        for json in [
            r#"{"$bytes":"+//+AQ"}"#,
            r#"{"$bytes":"+//+AQ=="}"#,
            r#""+//+AQ==""#,
            r#""-__-AQ""#,
            r#""-__-AQ==""#,
        ] {
            assert_eq!(read(json), Ok(bytes.clone()), "{json}");
        }
    }

    #[test]
    fn what_is_not_bytes_or_out_of_bounds_is_refused() {
        for json in [
            "[1,2]",
            "7",
            r#"{"$bytes":"AQ","x":1}"#,
            r#"{"bytes":"AQ"}"#,
            r#"{"$bytes":7}"#,
            "{}",
            r#""A-/A""#,
            r#""AQ=A""#,
            r#""""#,
            r#""AAAAAAAAAAAA""#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn bytes_go_out_without_padding() {
        let bytes = vec![0xfb, 0xff, 0xfe, 0x01];
        let as_bytes = serde_json::to_string(&BytesOut(bytes.clone().into())).unwrap();
        assert_eq!(as_bytes, r#"{"$bytes":"+//+AQ"}"#);
        let as_text = serde_json::to_string(&TextBytesOut(bytes)).unwrap();
        assert_eq!(as_text, r#""-__-AQ""#);
    }

    #[test]
    fn a_hash_is_hex_both_ways() {
        let text = format!("\"{}\"", "0aF1".repeat(16));
        let hash: Sha256Hex = serde_json::from_str(&text).unwrap();
        assert_eq!(hash.0[..2], [0x0a, 0xf1]);
        assert_eq!(serde_json::to_string(&hash).unwrap(), text.to_lowercase());
        assert!(serde_json::from_str::<Sha256Hex>("\"0g\"").is_err());
    }
}

//! Pure. A JSON value of the ATProto data model (no floats), borrowed from its
//! text, that can be written again as JSON or as DAG-CBOR.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};

use super::calls::MessageView;

/// One value. `{"$bytes": base64}` stays a map in JSON and becomes a byte string
/// in DAG-CBOR (ATProto data model, "bytes").
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Field<'a> {
    Bool(bool),
    Int(i64),
    List(Vec<Field<'a>>),
    Map(Fields<'a>),
    Null,
    Text(Cow<'a, str>),
}

/// The members of an object, in the order of the text.
pub(super) type Fields<'a> = Vec<(Cow<'a, str>, Field<'a>)>;

/// A member of an object that is a text.
pub(super) fn text<'f>(fields: &'f Fields<'_>, name: &str) -> Option<&'f str> {
    match fields.iter().find(|(key, _)| key == name) {
        Some((_, Field::Text(text))) => Some(text),
        _ => None,
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without floats")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Field::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Field::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("an integer is too large"))?;
        Ok(Field::Int(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Field::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Field::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Field::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::new();
        while let Some((Key(key), value)) = map.next_entry::<Key<'de>, Field<'de>>()? {
            if fields.iter().any(|(known, _)| *known == key) {
                return Err(A::Error::custom("a member is given twice"));
            }
            fields.push((key, value));
        }
        Ok(Field::Map(fields))
    }
}

/// A member's name, borrowed where the text allows: serde's own `Cow` never borrows.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(FieldVisitor)? {
            Field::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a member's name must be a text")),
        }
    }
}

impl<'de> Deserialize<'de> for Field<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::List(list) => serializer.collect_seq(list),
            Self::Map(fields) => match bytes_in(fields) {
                Some(base64) if !serializer.is_human_readable() => {
                    let bytes = STANDARD_NO_PAD.decode(base64.trim_end_matches('='));
                    serializer.serialize_bytes(&bytes.map_err(S::Error::custom)?)
                }
                _ => serializer.collect_map(fields.iter().map(|(key, value)| (key, value))),
            },
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// The base64 text of a `{"$bytes": …}` object.
fn bytes_in<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    match fields.as_slice() {
        [(key, Field::Text(base64))] if key == "$bytes" => Some(base64),
        _ => None,
    }
}

/// The body of an event's frame: the fields of its envelope, with the event's number in front of
/// them, and the message that they are about behind, if it is given.
pub(super) struct Numbered<'f, 'a> {
    pub(super) seq: u64,
    pub(super) fields: &'f Fields<'a>,
    pub(super) message: Option<&'f MessageView>,
}

impl Serialize for Numbered<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The type stands in the frame's header.
        let kept = || self.fields.iter().filter(|(key, _)| key != "type");
        let len = kept().count() + 1 + usize::from(self.message.is_some());
        let mut map = serializer.serialize_map(Some(len))?;
        map.serialize_entry("seq", &self.seq)?;
        for (key, value) in kept() {
            map.serialize_entry(key, value)?;
        }
        if let Some(message) = self.message {
            map.serialize_entry("message", message)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_a_map_in_json_and_a_byte_string_in_cbor() {
        let field: Field<'_> = serde_json::from_str(r#"{"sig":{"$bytes":"AQID"}}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&field).unwrap(),
            r#"{"sig":{"$bytes":"AQID"}}"#
        );
        let cbor = serde_ipld_dagcbor::to_vec(&field).unwrap();
        assert_eq!(cbor, b"\xa1\x63sig\x43\x01\x02\x03");
    }

    #[test]
    fn floats_and_doubled_members_are_refused() {
        assert!(serde_json::from_str::<Field<'_>>("1.5").is_err());
        assert!(serde_json::from_str::<Field<'_>>(r#"{"a":1,"a":2}"#).is_err());
        assert!(serde_json::from_str::<Field<'_>>("18446744073709551615").is_err());
    }

    #[test]
    fn texts_are_borrowed_unless_they_are_escaped() {
        let field: Field<'_> = serde_json::from_str(r#"["plain","es\"caped"]"#).unwrap();
        let Field::List(list) = field else { panic!() };
        assert!(matches!(list[0], Field::Text(Cow::Borrowed("plain"))));
        assert!(matches!(list[1], Field::Text(Cow::Owned(_))));
    }
}

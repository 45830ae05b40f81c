//! Pure. Query parameters as serde sees them: `?a=1&b=x&b=y` is a map of texts
//! and lists of texts. ATProto repeats a parameter to make a list.

use std::collections::BTreeMap;
use std::collections::btree_map::IntoIter;

use crate::types::unprintable;
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// The parameters of a request target, decoded and grouped by name.
pub(super) struct Query(BTreeMap<String, Values>);

unprintable!(Query);

impl Query {
    /// At most `PAIRS_MAX` parameters are looked at; more make the request bad. An
    /// empty one is an absent one: ATProto's own clients write `cursor=` when they
    /// have none, and its server reads it so.
    pub(super) fn parse(raw: &str) -> Option<Self> {
        let mut grouped: BTreeMap<String, Values> = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(raw.as_bytes()).enumerate() {
            if count >= PAIRS_MAX {
                return None;
            }
            if value.is_empty() {
                continue;
            }
            grouped
                .entry(name.into_owned())
                .or_insert_with(|| Values(Vec::new()))
                .0
                .push(value.into_owned());
        }
        Some(Self(grouped))
    }

    pub(super) fn into_deserializer<'de>(
        self,
    ) -> MapDeserializer<'de, IntoIter<String, Values>, Error> {
        MapDeserializer::new(self.0.into_iter())
    }
}

/// Everything that one name was given.
pub(super) struct Values(Vec<String>);

unprintable!(Values);

impl Values {
    fn single(mut self) -> Result<String, Error> {
        match (self.0.pop(), self.0.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(de::Error::custom("must be given once")),
        }
    }
}

impl<'de> IntoDeserializer<'de, Error> for Values {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.single()?)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.single()?.parse() {
            Ok(number) => visitor.visit_u64(number),
            // The visitor knows of which bounds.
            Err(_) => Err(de::Error::invalid_type(Unexpected::Other("text"), &visitor)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.single()?.parse() {
            Ok(is_so) => visitor.visit_bool(is_so),
            Err(_) => Err(de::Error::invalid_type(Unexpected::Other("text"), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let each = self.0.into_iter().map(|value| Self(vec![value]));
        visitor.visit_seq(SeqDeserializer::new(each))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_enum(self.single()?.into_deserializer())
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

/// The longest list has 100 items.
pub(super) const PAIRS_MAX: usize = 256;

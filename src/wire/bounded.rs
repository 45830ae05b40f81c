//! Pure. Values whose bounds are part of their type, so that a request that was
//! decoded is a request within the lexicon.

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Text of `MIN` to `MAX` bytes of UTF-8.
#[derive(Clone, Eq, PartialEq)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(~)")
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if !(MIN..=MAX).contains(&text.len()) {
            return Err(de::Error::custom(format_args!(
                "must be text of {MIN} to {MAX} bytes, not {}",
                text.len()
            )));
        }
        // Postgres text holds no NUL, and nobody types one.
        if text.contains('\0') {
            return Err(de::Error::custom("must not hold the character U+0000"));
        }
        Ok(Self(text))
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Int<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Int<MIN, MAX> {
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(IntVisitor)
    }
}

struct IntVisitor<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for IntVisitor<MIN, MAX> {
    type Value = Int<MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        if (MIN..=MAX).contains(&value) {
            Ok(Int(value))
        } else {
            Err(E::custom(format_args!(
                "must be a whole number from {MIN} to {MAX}"
            )))
        }
    }
}

/// `MIN` to `MAX` items. The bound is checked while reading, so that a long list
/// costs no more than a full one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> Default for List<T, MIN, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Deserialize<'de>
    for List<T, MIN, MAX>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T, const MIN: usize, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MIN: usize, const MAX: usize> Visitor<'de>
    for ListVisitor<T, MIN, MAX>
{
    type Value = List<T, MIN, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {MIN} to {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted = || de::Error::custom(format_args!("must be a list of {MIN} to {MAX} items"));
        let mut items = Vec::new();
        while items.len() < MAX {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None if items.len() < MIN => return Err(wanted()),
                None => return Ok(List(items)),
            }
        }
        match seq.next_element::<de::IgnoredAny>()? {
            Some(_) => Err(wanted()),
            None => Ok(List(items)),
        }
    }
}

/// A value that the lexicon knows and no handler needs: held to its bounds as it is read, and
/// not kept.
#[derive(Clone)]
pub struct Unkept<T>(PhantomData<T>);

impl<T> Default for Unkept<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unkept<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(|_| Self(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts<'de, T: Deserialize<'de>>(json: &'de str) -> bool {
        serde_json::from_str::<T>(json).is_ok()
    }

    #[test]
    fn bounds_are_inclusive_on_both_ends() {
        assert!(accepts::<Text<1, 3>>("\"a\"") && accepts::<Text<1, 3>>("\"abc\""));
        assert!(!accepts::<Text<1, 3>>("\"\"") && !accepts::<Text<1, 3>>("\"abcd\""));
        assert!(!accepts::<Text<1, 3>>(r#""a\u0000""#));
        assert!(accepts::<Int<2, 4>>("2") && accepts::<Int<2, 4>>("4"));
        assert!(!accepts::<Int<2, 4>>("1") && !accepts::<Int<2, 4>>("5"));
        assert!(!accepts::<Int<0, 4>>("-1") && !accepts::<Int<0, 4>>("1.5"));
        assert!(accepts::<List<u8, 1, 2>>("[1]") && accepts::<List<u8, 1, 2>>("[1,2]"));
        assert!(!accepts::<List<u8, 1, 2>>("[]") && !accepts::<List<u8, 1, 2>>("[1,2,3]"));
    }
}

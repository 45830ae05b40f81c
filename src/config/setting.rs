//! Pure. What every kind of value can do, and what it is made of: text or TOML in, a
//! place in a [`Config`], TOML out.

use std::collections::HashMap;

use super::Config;

/// A value as it was written, before anyone knows what it means.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    /// From the environment: text, whatever the key takes.
    Environment(String),
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<String>),
    /// Tables of text: `[[table]]`.
    Tables(Vec<HashMap<String, String>>),
    /// A kind of TOML value that no key takes.
    Foreign,
}

/// The value is not one that the key takes.
#[derive(Debug)]
pub(super) struct NotAllowed;

/// Reads one value into its place in a [`Config`], shows it again, compares it, and
/// takes it over from another.
pub(super) trait Setting: Sync {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed>;
    /// As TOML, or None when it is not set.
    fn show(&self, config: &mut Config) -> Option<String>;
    fn allowed(&self) -> String;
    /// What is wrong with a value that is not allowed, where more can be said.
    fn why(&self, raw: &Raw) -> Option<String>;
    fn is_same(&self, one: &mut Config, other: &mut Config) -> bool;
    fn carry(&self, from: &mut Config, to: &mut Config);
}

/// The place of a value: one accessor, so that reading and showing cannot differ.
pub(super) type At<T> = fn(&mut Config) -> &mut T;

/// What a kind of value is. Its place makes a [`Setting`] of it.
pub(super) trait Kind: Sync {
    type Value: Clone + PartialEq + 'static;

    fn at(&self) -> At<Self::Value>;
    fn parse(&self, raw: &Raw) -> Result<Self::Value, NotAllowed>;
    /// As TOML, or None when it is not set.
    fn show(&self, value: &Self::Value) -> Option<String>;
    fn allowed(&self) -> String;
    /// What is wrong with a value that is not allowed, where more can be said. It shows
    /// nothing of a secret.
    fn why(&self, _raw: &Raw) -> Option<String> {
        None
    }
}

impl<K: Kind> Setting for K {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        *self.at()(config) = self.parse(raw)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        Kind::show(self, self.at()(config))
    }

    fn allowed(&self) -> String {
        Kind::allowed(self)
    }

    fn why(&self, raw: &Raw) -> Option<String> {
        Kind::why(self, raw)
    }

    fn is_same(&self, one: &mut Config, other: &mut Config) -> bool {
        self.at()(one) == self.at()(other)
    }

    fn carry(&self, from: &mut Config, to: &mut Config) {
        *self.at()(to) = self.at()(from).clone();
    }
}

impl Raw {
    pub(super) fn text(&self) -> Result<&str, NotAllowed> {
        match self {
            Self::Environment(text) | Self::Text(text) => Ok(text),
            _ => Err(NotAllowed),
        }
    }

    pub(super) fn integer(&self) -> Result<u64, NotAllowed> {
        match self {
            Self::Environment(text) => text.trim().parse().map_err(|_| NotAllowed),
            Self::Integer(number) => u64::try_from(*number).map_err(|_| NotAllowed),
            _ => Err(NotAllowed),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<&str>, NotAllowed> {
        match self {
            Self::Environment(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect()),
            Self::List(items) => Ok(items.iter().map(String::as_str).collect()),
            _ => Err(NotAllowed),
        }
    }
}

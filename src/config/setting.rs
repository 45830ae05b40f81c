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

/// A value that is allowed; or what is wrong with it, where more can be said than what is. It
/// shows nothing of a secret.
pub(super) type Allowed<T> = Result<T, Option<String>>;

/// What a kind of value is.
pub(super) trait Kind: Sync {
    type Value: Clone + PartialEq + 'static;

    fn parse(&self, raw: &Raw) -> Allowed<Self::Value>;
    /// As TOML, or None when it is not set.
    fn show(&self, value: &Self::Value) -> Option<String>;
    /// As the end of a sentence.
    fn allowed(&self) -> String;
}

/// A kind of value, at its place in a [`Config`].
pub(super) struct Field<K: Kind> {
    pub(super) kind: K,
    pub(super) get: fn(&Config) -> &K::Value,
    pub(super) get_mut: fn(&mut Config) -> &mut K::Value,
}

/// A field of any kind.
pub(super) trait Setting: Sync {
    /// Takes over what was written.
    fn read(&self, raw: &Raw, config: &mut Config) -> Allowed<()>;
    fn show(&self, config: &Config) -> Option<String>;
    fn allowed(&self) -> String;
    fn is_same(&self, one: &Config, other: &Config) -> bool;
    fn carry(&self, from: &Config, to: &mut Config);
}

impl<K: Kind> Setting for Field<K> {
    fn read(&self, raw: &Raw, config: &mut Config) -> Allowed<()> {
        *(self.get_mut)(config) = self.kind.parse(raw)?;
        Ok(())
    }

    fn show(&self, config: &Config) -> Option<String> {
        self.kind.show((self.get)(config))
    }

    fn allowed(&self) -> String {
        self.kind.allowed()
    }

    fn is_same(&self, one: &Config, other: &Config) -> bool {
        (self.get)(one) == (self.get)(other)
    }

    fn carry(&self, from: &Config, to: &mut Config) {
        (self.get_mut)(to).clone_from((self.get)(from));
    }
}

impl Raw {
    pub(super) fn text(&self) -> Allowed<&str> {
        match self {
            Self::Environment(text) | Self::Text(text) => Ok(text),
            _ => Err(None),
        }
    }

    pub(super) fn integer(&self) -> Allowed<u64> {
        match self {
            Self::Environment(text) => text.trim().parse().or(Err(None)),
            Self::Integer(number) => u64::try_from(*number).or(Err(None)),
            _ => Err(None),
        }
    }

    pub(super) fn list(&self) -> Allowed<Vec<&str>> {
        match self {
            Self::Environment(text) => Ok(text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect()),
            Self::List(items) => Ok(items.iter().map(String::as_str).collect()),
            _ => Err(None),
        }
    }
}

//! Pure. The kinds of value that a key can hold: how each is read, checked, shown.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::setting::{At, Kind, NotAllowed, Raw};

/// Yes or no.
pub(super) struct Flag(pub(super) At<bool>);

impl Kind for Flag {
    type Value = bool;

    fn at(&self) -> At<bool> {
        self.0
    }

    fn parse(&self, raw: &Raw) -> Result<bool, NotAllowed> {
        match raw {
            Raw::Bool(flag) => Ok(*flag),
            Raw::Environment(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(NotAllowed),
            },
            _ => Err(NotAllowed),
        }
    }

    fn show(&self, flag: &bool) -> Option<String> {
        Some(flag.to_string())
    }

    fn allowed(&self) -> String {
        "true or false".to_owned()
    }
}

/// A whole number in a range.
pub(super) struct Number<T: 'static> {
    pub(super) at: At<T>,
    pub(super) least: u64,
    pub(super) most: u64,
}

impl<T> Kind for Number<T>
where
    T: Copy + PartialEq + TryFrom<u64> + Display,
{
    type Value = T;

    fn at(&self) -> At<T> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<T, NotAllowed> {
        let number = in_range(raw.integer()?, self.least, self.most)?;
        T::try_from(number).map_err(|_| NotAllowed)
    }

    fn show(&self, number: &T) -> Option<String> {
        Some(number.to_string())
    }

    fn allowed(&self) -> String {
        format!("a whole number from {} to {}", self.least, self.most)
    }
}

/// A length of time: a whole number of the unit that ends the key's name.
pub(super) struct Span {
    pub(super) at: At<Duration>,
    pub(super) unit: Unit,
    pub(super) least: u64,
    pub(super) most: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unit {
    Millis,
    Seconds,
    Minutes,
    Hours,
    Days,
}

impl Unit {
    fn millis(self) -> u64 {
        match self {
            Self::Millis => 1,
            Self::Seconds => 1_000,
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
            Self::Days => 86_400_000,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Millis => "milliseconds",
            Self::Seconds => "seconds",
            Self::Minutes => "minutes",
            Self::Hours => "hours",
            Self::Days => "days",
        }
    }
}

impl Kind for Span {
    type Value = Duration;

    fn at(&self) -> At<Duration> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<Duration, NotAllowed> {
        let number = in_range(raw.integer()?, self.least, self.most)?;
        let millis = number.checked_mul(self.unit.millis()).ok_or(NotAllowed)?;
        Ok(Duration::from_millis(millis))
    }

    fn show(&self, span: &Duration) -> Option<String> {
        Some((span.as_millis() / u128::from(self.unit.millis())).to_string())
    }

    fn allowed(&self) -> String {
        let unit = self.unit.name();
        format!(
            "a whole number of {unit} from {} to {}",
            self.least, self.most
        )
    }
}

/// Anything that its own type reads from text: addresses, URLs as text, paths.
pub(super) struct Parsed<T: 'static> {
    pub(super) at: At<T>,
    pub(super) allowed: &'static str,
    pub(super) check: fn(&T) -> bool,
}

impl<T> Kind for Parsed<T>
where
    T: Clone + PartialEq + FromStr + Display,
{
    type Value = T;

    fn at(&self) -> At<T> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<T, NotAllowed> {
        parse(raw.text()?, self.check)
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(quoted(&value.to_string()))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

/// Something that may be left out. Empty text leaves it out.
pub(super) struct Maybe<T: 'static> {
    pub(super) at: At<Option<T>>,
    pub(super) allowed: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
    /// How it is shown: secrets show less than they hold.
    pub(super) show: fn(&T) -> String,
}

impl Maybe<PathBuf> {
    pub(super) const fn path(at: At<Option<PathBuf>>) -> Self {
        Self {
            at,
            allowed: A_PATH,
            parse: |path| Some(path.into()),
            show: |path| path.display().to_string(),
        }
    }
}

impl<T: Clone + PartialEq> Kind for Maybe<T> {
    type Value = Option<T>;

    fn at(&self) -> At<Option<T>> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<Option<T>, NotAllowed> {
        match raw.text()?.trim() {
            "" => Ok(None),
            text => (self.parse)(text).map(Some).ok_or(NotAllowed),
        }
    }

    fn show(&self, value: &Option<T>) -> Option<String> {
        Some(quoted(&(self.show)(value.as_ref()?)))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

/// A kind of which more can be said than what it takes.
pub(super) struct Explained<K> {
    pub(super) kind: K,
    pub(super) why: fn(&str) -> Option<String>,
}

impl<K: Kind> Kind for Explained<K> {
    type Value = K::Value;

    fn at(&self) -> At<K::Value> {
        self.kind.at()
    }

    fn parse(&self, raw: &Raw) -> Result<K::Value, NotAllowed> {
        self.kind.parse(raw)
    }

    fn show(&self, value: &K::Value) -> Option<String> {
        Kind::show(&self.kind, value)
    }

    fn allowed(&self) -> String {
        Kind::allowed(&self.kind)
    }

    fn why(&self, raw: &Raw) -> Option<String> {
        (self.why)(raw.text().ok()?)
    }
}

/// Any number of them: an array, or text with commas in the environment.
pub(super) struct List<T: 'static> {
    pub(super) at: At<Vec<T>>,
    pub(super) allowed: &'static str,
}

impl<T> Kind for List<T>
where
    T: Clone + PartialEq + FromStr + Display,
{
    type Value = Vec<T>;

    fn at(&self) -> At<Vec<T>> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<Vec<T>, NotAllowed> {
        let items = raw.list()?.into_iter();
        items.map(|item| parse(item, |_| true)).collect()
    }

    fn show(&self, items: &Vec<T>) -> Option<String> {
        let items: Vec<_> = items.iter().map(|item| quoted(&item.to_string())).collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    /// No list holds a secret.
    fn why(&self, raw: &Raw) -> Option<String> {
        let mut items = raw.list().ok()?.into_iter();
        let bad = items.find(|item| parse::<T>(item, |_| true).is_err())?;
        Some(format!("{} is not one of them", quoted(bad)))
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static> {
    pub(super) at: At<T>,
    pub(super) options: &'static [(&'static str, T)],
}

impl<T> Kind for Choice<T>
where
    T: Copy + PartialEq + Sync,
{
    type Value = T;

    fn at(&self) -> At<T> {
        self.at
    }

    fn parse(&self, raw: &Raw) -> Result<T, NotAllowed> {
        let text = raw.text()?.trim();
        let option = self.options.iter().find(|(word, _)| *word == text);
        option.map(|(_, value)| *value).ok_or(NotAllowed)
    }

    fn show(&self, value: &T) -> Option<String> {
        let option = self.options.iter().find(|(_, option)| option == value)?;
        Some(quoted(option.0))
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.options.iter().map(|(word, _)| quoted(word)).collect();
        words.join(" or ")
    }
}

/// A path that is always set.
pub(super) struct Path(pub(super) At<PathBuf>);

impl Kind for Path {
    type Value = PathBuf;

    fn at(&self) -> At<PathBuf> {
        self.0
    }

    fn parse(&self, raw: &Raw) -> Result<PathBuf, NotAllowed> {
        parse(raw.text()?, |path: &PathBuf| !path.as_os_str().is_empty())
    }

    fn show(&self, path: &PathBuf) -> Option<String> {
        Some(quoted(&path.display().to_string()))
    }

    fn allowed(&self) -> String {
        A_PATH.to_owned()
    }
}

const A_PATH: &str = "a path";

fn in_range(number: u64, least: u64, most: u64) -> Result<u64, NotAllowed> {
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => Err(NotAllowed),
    }
}

fn parse<T: FromStr>(text: &str, check: fn(&T) -> bool) -> Result<T, NotAllowed> {
    let value = text.trim().parse().map_err(|_| NotAllowed)?;
    match check(&value) {
        true => Ok(value),
        false => Err(NotAllowed),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

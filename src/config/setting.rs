//! Pure. The kinds of value that a key can hold: how each is read, checked, shown.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

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

/// Reads one value into its place in a [`Config`], and shows it again.
pub(super) trait Setting: Sync {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed>;
    /// As TOML, or None when it is not set.
    fn show(&self, config: &mut Config) -> Option<String>;
    fn allowed(&self) -> String;
}

/// The place of a value: one accessor, so that reading and showing cannot differ.
pub(super) type At<T> = fn(&mut Config) -> &mut T;

impl Raw {
    pub(super) fn text(&self) -> Result<&str, NotAllowed> {
        match self {
            Self::Environment(text) | Self::Text(text) => Ok(text),
            _ => Err(NotAllowed),
        }
    }

    fn integer(&self) -> Result<u64, NotAllowed> {
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

/// Yes or no.
pub(super) struct Flag(pub(super) At<bool>);

impl Setting for Flag {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        *(self.0)(config) = match raw {
            Raw::Bool(flag) => *flag,
            Raw::Environment(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return Err(NotAllowed),
            },
            _ => return Err(NotAllowed),
        };
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        Some((self.0)(config).to_string())
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

impl<T> Setting for Number<T>
where
    T: Copy + TryFrom<u64> + Display,
{
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let number = in_range(raw.integer()?, self.least, self.most)?;
        *(self.at)(config) = T::try_from(number).map_err(|_| NotAllowed)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        Some((self.at)(config).to_string())
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

impl Setting for Span {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let number = in_range(raw.integer()?, self.least, self.most)?;
        let millis = number.checked_mul(self.unit.millis()).ok_or(NotAllowed)?;
        *(self.at)(config) = Duration::from_millis(millis);
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        let millis = (self.at)(config).as_millis();
        Some((millis / u128::from(self.unit.millis())).to_string())
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

impl<T> Setting for Parsed<T>
where
    T: FromStr + Display,
{
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        *(self.at)(config) = parse(raw.text()?, self.check)?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        Some(quoted(&(self.at)(config).to_string()))
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

impl<T> Setting for Maybe<T> {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let text = raw.text()?.trim();
        *(self.at)(config) = match text.is_empty() {
            true => None,
            false => Some((self.parse)(text).ok_or(NotAllowed)?),
        };
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        let value = (self.at)(config).as_ref()?;
        Some(quoted(&(self.show)(value)))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

/// Any number of them: an array, or text with commas in the environment.
pub(super) struct List<T: 'static> {
    pub(super) at: At<Vec<T>>,
    pub(super) allowed: &'static str,
}

impl<T> Setting for List<T>
where
    T: FromStr + Display,
{
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let items = raw.list()?.into_iter().map(|item| parse(item, |_| true));
        *(self.at)(config) = items.collect::<Result<_, _>>()?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        let items: Vec<_> = (self.at)(config)
            .iter()
            .map(|item| quoted(&item.to_string()))
            .collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static> {
    pub(super) at: At<T>,
    pub(super) options: &'static [(&'static str, T)],
}

impl<T> Setting for Choice<T>
where
    T: Copy + PartialEq + Sync,
{
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        let text = raw.text()?.trim();
        let option = self.options.iter().find(|(word, _)| *word == text);
        *(self.at)(config) = option.ok_or(NotAllowed)?.1;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        let value = *(self.at)(config);
        let option = self.options.iter().find(|(_, option)| *option == value)?;
        Some(quoted(option.0))
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.options.iter().map(|(word, _)| quoted(word)).collect();
        words.join(" or ")
    }
}

/// A path that is always set.
pub(super) struct Path(pub(super) At<PathBuf>);

impl Setting for Path {
    fn read(&self, raw: &Raw, config: &mut Config) -> Result<(), NotAllowed> {
        *(self.0)(config) = parse(raw.text()?, |path: &PathBuf| !path.as_os_str().is_empty())?;
        Ok(())
    }

    fn show(&self, config: &mut Config) -> Option<String> {
        Some(quoted(&(self.0)(config).display().to_string()))
    }

    fn allowed(&self) -> String {
        "a path".to_owned()
    }
}

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

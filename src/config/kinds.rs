//! Pure. The kinds of value that a key can hold: how each is read, checked, shown.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::setting::{Allowed, Kind, Raw};
use crate::limits::{Rule, RuleSet};

/// Yes or no.
pub(super) struct Flag;

impl Kind for Flag {
    type Value = bool;

    fn parse(&self, raw: &Raw) -> Allowed<bool> {
        match raw {
            Raw::Bool(flag) => Ok(*flag),
            Raw::Environment(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(true),
                "false" | "0" | "no" | "off" => Ok(false),
                _ => Err(None),
            },
            _ => Err(None),
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
pub(super) struct Number<T>(pub(super) RangeInclusive<T>);

impl<T> Kind for Number<T>
where
    T: Copy + PartialOrd + TryFrom<u64> + Display + Sync + 'static,
{
    type Value = T;

    fn parse(&self, raw: &Raw) -> Allowed<T> {
        let number = T::try_from(raw.integer()?).ok();
        number.filter(|n| self.0.contains(n)).ok_or(None)
    }

    fn show(&self, number: &T) -> Option<String> {
        Some(number.to_string())
    }

    fn allowed(&self) -> String {
        let (least, most) = (self.0.start(), self.0.end());
        format!("a whole number from {least} to {most}")
    }
}

/// A length of time: a whole number of the unit that ends the key's name.
pub(super) struct Span {
    unit: &'static str,
    unit_millis: u64,
    range: RangeInclusive<u64>,
}

pub(super) const fn millis(range: RangeInclusive<u64>) -> Span {
    Span::of("milliseconds", 1, range)
}

pub(super) const fn seconds(range: RangeInclusive<u64>) -> Span {
    Span::of("seconds", 1_000, range)
}

pub(super) const fn minutes(range: RangeInclusive<u64>) -> Span {
    Span::of("minutes", 60_000, range)
}

pub(super) const fn hours(range: RangeInclusive<u64>) -> Span {
    Span::of("hours", 3_600_000, range)
}

pub(super) const fn days(range: RangeInclusive<u64>) -> Span {
    Span::of("days", 86_400_000, range)
}

impl Span {
    const fn of(unit: &'static str, unit_millis: u64, range: RangeInclusive<u64>) -> Self {
        Self {
            unit,
            unit_millis,
            range,
        }
    }
}

impl Kind for Span {
    type Value = Duration;

    fn parse(&self, raw: &Raw) -> Allowed<Duration> {
        let number = Some(raw.integer()?).filter(|n| self.range.contains(n));
        let millis = number.and_then(|n| n.checked_mul(self.unit_millis));
        millis.map(Duration::from_millis).ok_or(None)
    }

    fn show(&self, span: &Duration) -> Option<String> {
        Some((span.as_millis() / u128::from(self.unit_millis)).to_string())
    }

    fn allowed(&self) -> String {
        let (unit, least, most) = (self.unit, self.range.start(), self.range.end());
        format!("a whole number of {unit} from {least} to {most}")
    }
}

/// Anything that is read from text: addresses, URLs, paths.
pub(super) struct Text<T: 'static> {
    pub(super) allowed: &'static str,
    pub(super) parse: fn(&str) -> Option<T>,
    /// Secrets show less than they hold.
    pub(super) show: fn(&T) -> String,
    /// What is wrong with text that is not allowed, where more can be said.
    pub(super) why: fn(&str) -> Option<String>,
}

impl<T: FromStr + Display> Text<T> {
    /// What its own type reads.
    pub(super) const fn parsed(allowed: &'static str) -> Self {
        Self {
            allowed,
            parse: |text| text.parse().ok(),
            show: T::to_string,
            why: |_| None,
        }
    }
}

pub(super) const PATH: Text<PathBuf> = Text {
    allowed: "a path",
    parse: |path| (!path.is_empty()).then(|| path.into()),
    show: |path| path.display().to_string(),
    why: |_| None,
};

impl<T: Clone + PartialEq> Kind for Text<T> {
    type Value = T;

    fn parse(&self, raw: &Raw) -> Allowed<T> {
        let text = raw.text()?.trim();
        (self.parse)(text).ok_or_else(|| (self.why)(text))
    }

    fn show(&self, value: &T) -> Option<String> {
        Some(quoted(&(self.show)(value)))
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }
}

/// Something that may be left out. Empty text leaves it out.
pub(super) struct Maybe<T: 'static>(pub(super) Text<T>);

impl<T: Clone + PartialEq> Kind for Maybe<T> {
    type Value = Option<T>;

    fn parse(&self, raw: &Raw) -> Allowed<Option<T>> {
        match raw.text()?.trim() {
            "" => Ok(None),
            _ => self.0.parse(raw).map(Some),
        }
    }

    fn show(&self, value: &Option<T>) -> Option<String> {
        self.0.show(value.as_ref()?)
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }
}

/// Any number of them, none of which is a secret: an array, or text with commas in the
/// environment.
pub(super) struct List<T: 'static>(pub(super) Text<T>);

impl<T: Clone + PartialEq> Kind for List<T> {
    type Value = Vec<T>;

    fn parse(&self, raw: &Raw) -> Allowed<Vec<T>> {
        let items = raw.list()?.into_iter().map(|item| {
            let parsed = (self.0.parse)(item.trim());
            parsed.ok_or_else(|| Some(format!("{} is not one of them", quoted(item))))
        });
        items.collect()
    }

    fn show(&self, items: &Vec<T>) -> Option<String> {
        let items: Vec<_> = items.iter().filter_map(|item| self.0.show(item)).collect();
        Some(format!("[{}]", items.join(", ")))
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }
}

/// One of a few words.
pub(super) struct Choice<T: 'static>(pub(super) &'static [(&'static str, T)]);

impl<T: Copy + PartialEq + Sync> Kind for Choice<T> {
    type Value = T;

    fn parse(&self, raw: &Raw) -> Allowed<T> {
        let text = raw.text()?.trim();
        let option = self.0.iter().find(|(word, _)| *word == text);
        option.map(|(_, value)| *value).ok_or(None)
    }

    fn show(&self, value: &T) -> Option<String> {
        let option = self.0.iter().find(|(_, option)| option == value)?;
        Some(quoted(option.0))
    }

    fn allowed(&self) -> String {
        let words: Vec<_> = self.0.iter().map(|(word, _)| quoted(word)).collect();
        words.join(" or ")
    }
}

/// Some of the limiter's rules, by their names.
pub(super) struct Rules;

impl Kind for Rules {
    type Value = RuleSet;

    fn parse(&self, raw: &Raw) -> Allowed<RuleSet> {
        let names = raw.list()?.into_iter();
        names.map(|name| Rule::parse(name).ok_or(None)).collect()
    }

    fn show(&self, set: &RuleSet) -> Option<String> {
        let meant = Rule::ALL.iter().filter(|rule| set.contains(**rule));
        let names: Vec<_> = meant.map(|rule| quoted(rule.name())).collect();
        Some(format!("[{}]", names.join(", ")))
    }

    fn allowed(&self) -> String {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        format!("any of {}", names.join(", "))
    }
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

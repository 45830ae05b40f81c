//! Pure. The text of `relay.toml` as a flat list of keys with the lines they stand on.

use std::collections::HashMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Place};
use super::setting::Raw;

/// One `key = value`, by its whole name.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) raw: Raw,
}

/// Every entry, and what is wrong with the text as TOML.
pub(super) fn entries(path: &Path, text: &str) -> (Vec<Entry>, Vec<Fault>) {
    let (table, errors) = DeTable::parse_recoverable(text);
    let faults = errors.iter().map(|error| {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        let problem = format!("not valid TOML: {}", error.message());
        Fault::new(Place::line(path, line), "", problem)
    });
    let faults = faults.collect();
    let mut found = Vec::new();
    flatten(text, "", table.get_ref(), &mut found);
    // As they are written, and not by name: so they are read again where one is at fault.
    found.sort_by_key(|entry: &Entry| entry.line);
    (found, faults)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, found: &mut Vec<Entry>) {
    for (key, value) in table {
        let name = match prefix {
            "" => key.get_ref().to_string(),
            prefix => format!("{prefix}.{}", key.get_ref()),
        };
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &name, inner, found),
            other => found.push(Entry {
                name,
                line: line_of(text, key.span().start),
                raw: raw(other),
            }),
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::Boolean(flag) => Raw::Bool(*flag),
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Raw::Foreign, Raw::Integer)
        }
        DeValue::Array(items) => list(items),
        DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Table(_) => Raw::Foreign,
    }
}

fn list(items: &[Spanned<DeValue<'_>>]) -> Raw {
    if let Some(tables) = tables(items) {
        return Raw::Tables(tables);
    }
    let texts: Option<Vec<_>> = items
        .iter()
        .map(|item| item.get_ref().as_str().map(str::to_owned))
        .collect();
    texts.map_or(Raw::Foreign, Raw::List)
}

/// At least one table, each of text alone.
fn tables(items: &[Spanned<DeValue<'_>>]) -> Option<Vec<HashMap<String, String>>> {
    let tables = items.iter().map(|item| {
        let entries = item.get_ref().as_table()?.iter();
        let texts = entries.map(|(key, value)| {
            let text = value.get_ref().as_str()?;
            Some((key.get_ref().to_string(), text.to_owned()))
        });
        texts.collect()
    });
    let tables: Vec<_> = tables.collect::<Option<_>>()?;
    (!tables.is_empty()).then_some(tables)
}

/// Lines are counted from one.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
}

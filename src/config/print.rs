//! Pure. A configuration as text: the one in force, and the documented `relay.toml`.

use std::fmt::Write;

use super::fault::Place;
use super::key::Key;
use super::{Loaded, keys};

/// The configuration in force, as TOML, each line with where it came from. Secrets
/// are hidden.
pub fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in keys() {
        head(&mut text, &mut table, key);
        let origin = match loaded.origins.get(key.name) {
            None => Place::Default.to_string(),
            Some(place) => place.to_string(),
        };
        let line = match key.value(&loaded.config) {
            Some(value) => format!("{} = {value}", key.leaf()),
            None => format!("# {} is not set", key.leaf()),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{line:<56} # {origin}");
    }
    text
}

/// `relay.toml` as it is shipped: every key with its reason and its default.
pub fn template() -> String {
    let mut text = String::from(PREAMBLE);
    let mut table = "";
    for key in keys() {
        head(&mut text, &mut table, key);
        for line in wrapped(key.doc, COMMENT_COLUMNS) {
            let _ = writeln!(text, "# {line}");
        }
        let effect = key.effect.note();
        let takes = format!("Takes {}. Environment: {}.{effect}", key.allowed(), key.env);
        for line in wrapped(&takes, COMMENT_COLUMNS) {
            let _ = writeln!(text, "# {line}");
        }
        let default = key.default();
        let value = default.as_deref().unwrap_or("\"\"");
        let _ = writeln!(text, "#{} = {value}\n", key.leaf());
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Opens the key's table when it is another one than before.
fn head(text: &mut String, table: &mut &'static str, key: &Key) {
    if *table != key.table() {
        *table = key.table();
        let gap = if text.is_empty() || text.ends_with("\n\n") {
            ""
        } else {
            "\n"
        };
        let _ = writeln!(text, "{gap}[{table}]");
    }
}

pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

const COMMENT_COLUMNS: usize = 90;

const PREAMBLE: &str = "\
# mls-relay. Every key is here with its default; uncomment what you want to change.
# An environment variable overrides the file. `mls-relay check-config` shows what is in
# force and where it came from. This file is written by `mls-relay check-config --template`.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source};

    #[test]
    fn the_shipped_file_is_the_one_the_table_writes() {
        let is_same = include_str!("../../relay.toml") == template();
        assert!(
            is_same,
            "run `cargo run -- check-config --template > relay.toml`"
        );
    }

    #[test]
    fn the_shipped_file_with_every_line_uncommented_is_the_default() {
        let uncommented: String = template()
            .lines()
            .filter(|line| !line.starts_with("# "))
            .map(|line| format!("{}\n", line.trim_start_matches('#')))
            .collect();
        let source = Source {
            file: Some(("relay.toml".into(), uncommented)),
            ..Source::default()
        };
        let loaded = Config::load(&source).unwrap();
        for key in keys() {
            assert_eq!(key.value(&loaded.config), key.default(), "{key:?}");
        }
    }

    #[test]
    fn the_effective_configuration_hides_the_password_and_says_where_values_came_from() {
        let source = Source {
            environment: [("DATABASE_URL", "postgres://relay:hunter2@db/relay")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Source::default()
        };
        let shown = effective(&Config::load(&source).unwrap());
        assert!(!shown.contains("hunter2"));
        assert!(shown.contains("environment DATABASE_URL"));
    }
}

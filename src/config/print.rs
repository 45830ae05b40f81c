//! Pure. A configuration as text: the one in force, and the documented `relay.toml`.

use std::fmt::Write;

use super::Loaded;
use super::fault::Place;
use super::keys::TABLES;

/// The configuration in force, as TOML, each line with where it came from. Secrets
/// are hidden.
pub fn effective(loaded: &Loaded) -> String {
    let mut text = String::new();
    for (table, keys) in TABLES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{table}]");
        for key in *keys {
            let origin = loaded.origins.get(key.name).unwrap_or(&Place::Default);
            let line = match key.value(&loaded.config) {
                Some(value) => format!("{} = {value}", key.leaf()),
                None => format!("# {} is not set", key.leaf()),
            };
            let _ = writeln!(text, "{line:<56} # {origin}");
        }
        text.push('\n');
    }
    ended(text)
}

/// `relay.toml` as it is shipped: every key with its reason and its default.
pub fn template() -> String {
    let mut text = String::from(PREAMBLE);
    for (table, keys) in TABLES {
        let _ = writeln!(text, "[{table}]");
        for key in *keys {
            comment(&mut text, key.doc);
            let (allowed, env, effect) = (key.allowed(), key.env, key.effect.note());
            let takes = format!("Takes {allowed}. Environment: {env}.{effect}");
            comment(&mut text, &takes);
            let default = key.default();
            let value = default.as_deref().unwrap_or("\"\"");
            let _ = writeln!(text, "#{} = {value}\n", key.leaf());
        }
    }
    ended(text)
}

/// Says something in lines of their own.
pub(super) fn comment(text: &mut String, said: &str) {
    let mut line = String::from("#");
    for word in said.split_whitespace() {
        if line.len() + 1 + word.len() > COMMENT_COLUMNS {
            let _ = writeln!(text, "{line}");
            line.truncate(1);
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}

/// A file ends with its last line.
pub(super) fn ended(mut text: String) -> String {
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

const COMMENT_COLUMNS: usize = 92;

const PREAMBLE: &str = "\
# mls-relay. Every key is here with its default; uncomment what you want to change.
# An environment variable overrides the file. `mls-relay check-config` shows what is in
# force and where it came from. This file is written by `mls-relay check-config --template`.

";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source, keys};

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
        let loaded = Config::load(&Source::of(&uncommented, &[])).unwrap();
        for key in keys() {
            assert_eq!(key.value(&loaded.config), key.default(), "{key:?}");
        }
    }

    #[test]
    fn the_effective_configuration_hides_the_password_and_says_where_values_came_from() {
        let source = Source::of("", &[("DATABASE_URL", "postgres://relay:hunter2@db/relay")]);
        let shown = effective(&Config::load(&source).unwrap());
        assert!(!shown.contains("hunter2"));
        assert!(shown.contains("environment DATABASE_URL"));
    }
}

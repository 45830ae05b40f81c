//! Pure. The table of keys as text: the configuration in force, the documented `relay.toml` and
//! `.env.example`, and the tables of `docs/settings.md`. Tests keep these files equal
//! to what this writes.

use std::fmt::Write;

use toml::Value;

use super::Loaded;
use super::fault::Place;
use super::key::Key;
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

/// Every environment variable with its reason and its default, for a file that
/// Docker Compose and systemd read alike.
pub fn env_template() -> String {
    let mut text = String::new();
    for (table, keys) in TABLES {
        let _ = writeln!(text, "# === {table} ===\n");
        for key in *keys {
            comment(&mut text, key.doc);
            let takes = format!("Takes {}.{}", key.allowed(), key.effect.note());
            comment(&mut text, &takes);
            let value = env_default(key).unwrap_or_default();
            let _ = writeln!(text, "#{}={value}\n", key.env);
        }
    }
    ended(text)
}

/// Every key as Markdown, a table for each table of `relay.toml`.
pub fn settings_markdown() -> String {
    let mut text = String::new();
    for (table, keys) in TABLES {
        let _ = writeln!(text, "\n## `[{table}]`\n");
        text.push_str("| key and variable | default | a change applies | what it does |\n");
        text.push_str("|---|---|---|---|\n");
        for key in *keys {
            let default = match env_default(key) {
                Some(value) if !value.is_empty() => format!("`{value}`"),
                _ => "not set".to_owned(),
            };
            let _ = writeln!(
                text,
                "| `{}`<br>`{}` | {default} | {} | {} Takes {}. |",
                key.leaf(),
                key.env,
                key.effect.label(),
                cell(key.doc),
                cell(&key.allowed()),
            );
        }
    }
    text.trim_start().to_owned()
}

/// The default as the environment has it: no quotes, lists with commas.
fn env_default(key: &Key) -> Option<String> {
    let shown = key.default()?;
    Some(match shown.parse::<Value>() {
        Ok(Value::String(text)) => text,
        Ok(Value::Array(items)) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            items.join(",")
        }
        _ => shown,
    })
}

/// A bar would end the cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Says something in lines of their own.
fn comment(text: &mut String, said: &str) {
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
fn ended(mut text: String) -> String {
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

    #[test]
    fn the_env_file_with_every_line_uncommented_is_the_default_configuration() {
        let environment = env_template()
            .lines()
            .filter(|line| !line.starts_with("# "))
            .filter_map(|line| line.trim_start_matches('#').split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let source = Source {
            environment,
            ..Source::default()
        };
        assert_eq!(source.environment.len(), keys().count());
        let loaded = Config::load(&source).unwrap();
        for key in keys() {
            assert_eq!(key.value(&loaded.config), key.default(), "{key:?}");
        }
    }

    #[test]
    fn each_key_has_one_row_of_four_cells() {
        let markdown = settings_markdown();
        for key in keys() {
            let rows: Vec<_> = markdown
                .lines()
                .filter(|line| line.contains(&format!("`{}` |", key.env)))
                .collect();
            let [row] = rows[..] else {
                panic!("{key:?} has {} rows", rows.len());
            };
            let bars = row.matches('|').count() - row.matches("\\|").count();
            assert_eq!(bars, 5, "{row}");
        }
    }
}

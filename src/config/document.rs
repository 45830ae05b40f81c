//! Pure. The table of keys as documents: `.env.example`, and the settings table of
//! `docs/operations.md`. A test keeps both files equal to what this writes.

use std::fmt::Write;

use toml::Value;

use super::key::Key;
use super::keys::TABLES;
use super::print::{comment, ended};

/// Every environment variable with its reason and its default, for a file that
/// Docker Compose and systemd read alike.
pub fn env_template() -> String {
    let mut text = String::new();
    for (table, keys) in TABLES {
        // Writing to a String cannot fail.
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
        let _ = writeln!(text, "\n### `[{table}]`\n");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source, keys};

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

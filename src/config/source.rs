//! Where the process's configuration comes from: a file and the environment.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::io::ErrorKind;
use std::path::Path;

use super::env_file;
use super::fault::{Fault, Faults, Place};
use super::key::Key;
use super::keys;
use super::read::Source;
use crate::telemetry::Format;

impl Source {
    /// The process's own: `file`, or `relay.toml` where the relay was started when
    /// there is one, and every environment variable.
    pub fn process(file: Option<&Path>) -> Result<Self, Faults> {
        let (mut environment, mut faults) = (HashMap::new(), Vec::new());
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(environment.insert(name, value)),
                // None of ours, or one that must not be taken for one that is not set.
                (Ok(name), Err(_)) => {
                    faults.extend(keys().find(|key| key.env == name).map(no_text))
                }
                _ => {}
            }
        }
        Faults::found(faults)?;
        let path = Self::path(file);
        let file = match fs::read_to_string(path) {
            Ok(text) => Some((path.to_owned(), text)),
            // Only a file that was asked for must exist.
            Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => None,
            Err(error) => return Err(unreadable(path, &error)),
        };
        Ok(Self { file, environment })
    }

    /// The same, with what this file of variables sets, as systemd would read it, above the
    /// process's own. `-` is standard input.
    pub fn with_env_file(mut self, path: &Path) -> Result<Self, Faults> {
        let text = match path == Path::new("-") {
            true => io::read_to_string(io::stdin()),
            false => fs::read_to_string(path),
        };
        let text = text.map_err(|error| unreadable(path, &error))?;
        let (variables, faults) = env_file::variables(path, &text);
        Faults::found(faults)?;
        self.environment.extend(variables);
        Ok(self)
    }

    /// Where the process's file is or would be: `file`, or `relay.toml`.
    pub fn path(file: Option<&Path>) -> &Path {
        file.unwrap_or(Path::new(DEFAULT_FILE))
    }
}

/// How the log would look if only the environment said so: for what is wrong with the rest.
pub fn wished_log_format() -> Format {
    let mut variables = std::env::vars_os();
    match variables.any(|(name, value)| name == "LOG_FORMAT" && value == "json") {
        true => Format::Json,
        false => Format::Text,
    }
}

fn no_text(key: &Key) -> Fault {
    let problem = "is not UTF-8; write it so";
    Fault::new(Place::Environment(key.env), key.name, problem)
}

fn unreadable(path: &Path, error: &io::Error) -> Faults {
    let problem = format!("cannot be read: {error}");
    Fault::new(Place::Default, &path.display().to_string(), problem).into()
}

const DEFAULT_FILE: &str = "relay.toml";

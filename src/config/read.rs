//! Pure. Source to configuration: file, then environment, then the rules between keys.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::doubt::{Doubt, doubts};
use super::fault::{Fault, Faults, Place};
use super::file;
use super::key::Key;
use super::nearest::nearest;
use super::setting::Raw;
use super::{Config, keys, rules};

/// Everything that a configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub file: Option<(PathBuf, String)>,
    pub environment: HashMap<String, String>,
}

/// A configuration, and where each key that is not at its default was set.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// What may not be meant so.
    pub doubts: Vec<Doubt>,
    pub origins: Origins,
    /// Whether there was a file.
    pub has_file: bool,
}

/// Where each key that was set was set, by its name.
pub(super) type Origins = HashMap<&'static str, Place>;

impl Config {
    /// Reads, checks and relates every key. Either a configuration that holds every
    /// rule, or everything that is wrong.
    pub fn load(source: &Source) -> Result<Loaded, Faults> {
        let (mut reading, in_file) = Reading::of(source);
        reading.rules();
        Faults::found(reading.faults)?;
        Ok(Loaded {
            doubts: doubts(source, &in_file, &reading.config, &reading.origins),
            config: reading.config,
            origins: reading.origins,
            has_file: source.file.is_some(),
        })
    }

    /// Where a relay that runs is asked how it is. What else has become wrong since it started,
    /// it does not go by.
    pub fn admin_listen(source: &Source) -> SocketAddr {
        Reading::of(source).0.config.edge.admin_listen
    }
}

#[cfg(test)]
impl Source {
    /// A file of this text, and these variables.
    pub(crate) fn of(text: &str, environment: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            file: Some(("relay.toml".into(), text.to_owned())),
            environment: environment.iter().map(owned).collect(),
        }
    }
}

#[derive(Default)]
struct Reading {
    config: Config,
    origins: Origins,
    faults: Vec<Fault>,
}

impl Reading {
    /// Everything that is said, and what of it the file says.
    fn of(source: &Source) -> (Self, Origins) {
        let mut reading = Self::default();
        if let Some((path, text)) = &source.file {
            reading.file(path, text);
        }
        let in_file = reading.origins.clone();
        reading.environment(&source.environment);
        (reading, in_file)
    }

    fn file(&mut self, path: &Path, text: &str) {
        let (entries, faults) = file::entries(path, text);
        self.faults.extend(faults);
        for entry in entries {
            let place = Place::line(path, entry.line);
            match keys().find(|key| key.name == entry.name) {
                Some(key) => self.set(key, &entry.raw, place),
                None => self.faults.push(unknown(&entry.name, place)),
            }
        }
    }

    fn environment(&mut self, variables: &HashMap<String, String>) {
        for key in keys() {
            // Empty is how compose files and unit files say "not set".
            if let Some(text) = variables.get(key.env).filter(|text| !text.is_empty()) {
                let raw = Raw::Environment(text.clone());
                self.set(key, &raw, Place::Environment(key.env));
            }
        }
    }

    fn set(&mut self, key: &'static Key, raw: &Raw, place: Place) {
        match key.setting.read(raw, &mut self.config) {
            Ok(()) => {
                self.origins.insert(key.name, place);
            }
            Err(why) => {
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                let problem = format!("not allowed{why}; it takes {}", key.allowed());
                self.faults.push(Fault::new(place, key.name, problem));
            }
        }
    }

    /// What each key of a relation is called in the environment, and where it was set: it may
    /// be the other one that somebody has changed.
    fn whereabouts(&self, related: &[&'static str]) -> String {
        let related = related.iter().map(|name| {
            let env = keys()
                .find(|key| key.name == *name)
                .map_or("", |key| key.env);
            let place = self.origins.get(name).unwrap_or(&Place::Default);
            format!("{name} is {env}, set here: {place}")
        });
        related.collect::<Vec<_>>().join("; ")
    }

    /// Relations are judged only between values that are themselves sound; of a text that is
    /// no TOML nobody knows all values.
    fn rules(&mut self) {
        let faulty: HashSet<String> = self.faults.iter().map(|f| f.key.clone()).collect();
        if faulty.contains("") {
            return;
        }
        for (keys, problem) in rules::broken(&self.config) {
            let Some(key) = keys.first() else { continue };
            if keys.iter().any(|key| faulty.contains(*key)) {
                continue;
            }
            let place = self.origins.get(*key).cloned().unwrap_or(Place::Default);
            let problem = match keys.len() {
                1 => problem,
                _ => format!("{problem} ({})", self.whereabouts(keys)),
            };
            self.faults.push(Fault::new(place, key, problem));
        }
    }
}

fn unknown(name: &str, place: Place) -> Fault {
    let problem = match nearest(name, keys().map(|key| key.name), SLIPS_MAX) {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; `mls-relay check-config` lists them all".to_owned(),
    };
    Fault::new(place, name, problem)
}

/// A slip of the pen or a forgotten unit, not another word.
const SLIPS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Faults> {
        Config::load(&Source::of(text, environment))
    }

    #[test]
    fn the_environment_overrides_the_file_and_the_file_the_default() {
        let text = "[edge]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:2\"\n";
        let loaded = load_text(text, &[("RELAY_LISTEN", "[::]:443")]).unwrap();
        assert_eq!(loaded.config.edge.listen, "[::]:443".parse().unwrap());
        assert_eq!(
            loaded.config.edge.admin_listen,
            "127.0.0.1:2".parse().unwrap()
        );
    }

    #[test]
    fn every_fault_is_reported_at_once_with_file_line_key_and_what_is_allowed() {
        let text = "[log]\nformat = \"xml\"\n[edge]\nlisten = \"nowhere\"\n\nlissten = 1\n";
        let faults = load_text(text, &[("RELAY_DRAIN_SECONDS", "-1")]).unwrap_err();
        let said = faults.to_string();
        let expected = [
            "relay.toml:2: log.format: not allowed; it takes \"text\" or \"json\"",
            "relay.toml:4: edge.listen: not allowed; it takes an address and a port",
            "relay.toml:6: edge.lissten: unknown key; did you mean edge.listen?",
            "environment RELAY_DRAIN_SECONDS: process.drain_seconds: not allowed; it takes a whole number of seconds",
        ];
        for (line, expected) in said.lines().zip(expected) {
            assert!(
                line.starts_with(expected),
                "{expected:?} in its place:\n{said}"
            );
        }
        assert_eq!(faults.0.len(), expected.len());
    }

    #[test]
    fn a_broken_rule_is_reported_beside_other_faults_unless_one_is_of_its_own_keys() {
        let text = "[edge]\ntls_cert = \"a.pem\"\n[session]\ndrain_window_seconds = 3000\n\
                    [process]\ndrain_seconds = -1\n";
        let said = load_text(text, &[]).unwrap_err();
        let keys: Vec<&str> = said.0.iter().map(|fault| fault.key.as_str()).collect();
        assert_eq!(keys, ["process.drain_seconds", "edge.tls_cert"]);
    }

    #[test]
    fn a_broken_rule_names_both_of_its_keys_with_their_variables_and_places() {
        let said = load_text("", &[("PING_SECONDS", "80")])
            .unwrap_err()
            .to_string();
        for part in [
            "session.silence_seconds is SILENCE_SECONDS, set here: default",
            "session.ping_seconds is PING_SECONDS, set here: environment PING_SECONDS",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn a_list_names_the_entry_that_is_none_of_it() {
        let proxies = ("TRUSTED_PROXIES", "10.1.0.0/16, 10.0.0.5");
        let said = load_text("", &[proxies]).unwrap_err().to_string();
        assert!(said.contains("\"10.0.0.5\" is not one of them"), "{said}");
        assert!(said.contains("a single host is /32"), "{said}");
    }

    #[test]
    fn a_database_url_is_told_which_parameter_is_not_taken_and_no_part_of_its_password() {
        for (url, told) in [
            (
                "postgres://r:hunter2@db/x?sslmode=verify-full",
                "sslmode takes disable, prefer or require (which verifies)",
            ),
            (
                "host=db password=hunter2 sslmode=verify-ca",
                "sslmode takes disable, prefer or require (which verifies)",
            ),
            (
                "postgres://r:hunter2@db/x?sslmode=require&sslrootcert=/ca.pem",
                "DATABASE_CA_FILE",
            ),
            (
                "postgres://r:s3cr@hunter2@db/x",
                "an @ in a password is written %40",
            ),
        ] {
            let said = load_text("", &[("DATABASE_URL", url)])
                .unwrap_err()
                .to_string();
            assert!(said.contains(told), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn a_filter_that_would_log_nothing_is_refused() {
        for filter in ["verbose", "hyper=debug", "wran,tower=info"] {
            let said = load_text("", &[("RUST_LOG", filter)])
                .unwrap_err()
                .to_string();
            assert!(
                said.contains("names no level and no part of mls_relay"),
                "{said}"
            );
        }
        for filter in [
            "warn",
            "OFF",
            "mls_relay=debug",
            "mls_relay::store=trace",
            "hyper=info,error",
            "mls",
        ] {
            assert!(load_text("", &[("RUST_LOG", filter)]).is_ok(), "{filter}");
        }
    }

    #[test]
    fn text_that_is_not_toml_is_refused_with_its_line() {
        let faults = load_text("[edge]\nlisten = \n", &[]).unwrap_err();
        assert!(
            faults
                .to_string()
                .starts_with("relay.toml:2: not valid TOML")
        );
    }

    #[test]
    fn a_fault_does_not_repeat_the_value_which_may_be_a_secret() {
        let faults = load_text("", &[("DATABASE_URL", "postgre://relay:hunter2@db/x")]);
        let said = faults.unwrap_err().to_string();
        assert!(said.contains("DATABASE_URL") && !said.contains("hunter2"));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let loaded = load_text("", &[("RELAY_LISTEN", ""), ("TLS_CERT", "")]).unwrap();
        assert!(loaded.origins.is_empty());
    }
}

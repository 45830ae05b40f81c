//! A file of variables, and what becomes of them: written again with quotation marks they are
//! the same, and a configuration that they make is the same from the TOML that it is shown as.

#![cfg_attr(fuzzing, no_main)]

use mls_relay::config::{Config, Source, fuzzing, keys};

/// The text of a file, of either kind. In one of variables, `_7` is the name of the seventh.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let _ = load(text, Vec::new());
    let Some(mut variables) = fuzzing::variables(text) else {
        return;
    };
    let written: String = variables.iter().map(written).collect();
    assert_eq!(fuzzing::variables(&written).as_ref(), Some(&variables));
    for (name, _) in &mut variables {
        let number = name
            .strip_prefix('_')
            .and_then(|number| number.parse().ok());
        if let Some(key) = number.and_then(|number| keys().nth(number)) {
            key.env.clone_into(name);
        }
    }
    let Some(config) = load("", variables) else {
        return;
    };
    // Databases and secrets are shown without what is secret in them.
    let shown =
        |name| !["database.url", "database.listen_url", "auth.ticket_secret"].contains(&name);
    let file: String = keys()
        .filter(|key| shown(key.name))
        .filter_map(|key| Some(format!("{} = {}\n", key.name, key.value(&config)?)))
        .collect();
    let again = load(&file, Vec::new()).expect("what is shown can be read");
    for key in keys().filter(|key| shown(key.name)) {
        assert!(key.is_same(&config, &again), "{key:?}");
    }
}

fn load(file: &str, environment: Vec<(String, String)>) -> Option<Config> {
    let source = Source {
        file: Some(("relay.toml".into(), file.to_owned())),
        environment: environment.into_iter().collect(),
    };
    match Config::load(&source) {
        Ok(loaded) => Some(loaded.config),
        Err(faults) => {
            assert!(!faults.0.is_empty());
            None
        }
    }
}

fn written((name, value): &(String, String)) -> String {
    let mut line = format!("{name}=\"");
    for character in value.chars() {
        if ['"', '\\', '`', '$'].contains(&character) {
            line.push('\\');
        }
        line.push(character);
    }
    line + "\"\n"
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

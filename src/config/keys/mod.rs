//! Pure. Every key of the configuration, in the order in which it is shown.

/// A list of keys. Each is declared by its paragraph, its name, its variable and its effect,
/// and by the kind of value that goes into a field of [`Config`](super::Config).
macro_rules! keys {
    ($(
        $(#[doc = $doc:literal])+
        $table:ident.$leaf:ident, $env:ident, $effect:ident:
            $kind:expr => $($field:ident).+;
    )+) => {
        &[$(crate::config::Key {
            name: concat!(stringify!($table), ".", stringify!($leaf)),
            env: stringify!($env),
            effect: crate::config::Effect::$effect,
            doc: concat!($($doc),+).trim_ascii(),
            setting: &crate::config::setting::Field {
                kind: $kind,
                get: |config| &config.$($field).+,
                get_mut: |config| &mut config.$($field).+,
            },
        }),+]
    };
}

mod acme;
mod appview;
mod auth;
mod calls;
mod database;
mod edge;
mod events;
mod limits;
mod log;
mod process;
mod retention;
mod session;
mod tls;

use ipnet::IpNet;

use super::key::Key;
use super::kinds::Text;
use crate::outbound::Endpoint;

/// Every table of `relay.toml`, with its keys.
pub(super) const TABLES: &[(&str, &[Key])] = &[
    ("edge", edge::KEYS),
    ("tls", tls::KEYS),
    ("acme", acme::KEYS),
    ("auth", auth::KEYS),
    ("appview", appview::KEYS),
    ("limits", limits::KEYS),
    ("calls", calls::KEYS),
    ("session", session::KEYS),
    ("events", events::KEYS),
    ("database", database::KEYS),
    ("retention", retention::KEYS),
    ("log", log::KEYS),
    ("process", process::KEYS),
];

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    TABLES.iter().flat_map(|(_, keys)| *keys)
}

/// What a service that the relay asks may be named by, as whoever asks it reads that.
const SERVICE: Text<String> = Text {
    parse: |url| Endpoint::parse(url).is_ok().then(|| url.to_owned()),
    ..Text::parsed(
        "an https URL; or http, unprotected, for one on this machine or a network that you trust",
    )
};

const NETWORK: Text<IpNet> = Text::parsed(
    "networks, such as [\"10.0.0.0/8\", \"2001:db8::/32\"]; a single host is /32, or /128",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Source};
    use std::collections::HashSet;

    #[test]
    fn names_and_variables_are_unique_and_every_key_says_why_it_exists() {
        let names: HashSet<_> = all().map(|key| key.name).collect();
        let variables: HashSet<_> = all().map(|key| key.env).collect();
        assert_eq!(names.len(), all().count());
        assert_eq!(variables.len(), all().count());
        for key in all() {
            assert!(key.doc.ends_with('.'), "{key:?}");
        }
        for (table, keys) in TABLES {
            for key in *keys {
                assert_eq!(key.name, format!("{table}.{}", key.leaf()));
            }
        }
    }

    #[test]
    fn a_service_that_could_not_be_asked_is_refused_before_the_start() {
        for name in ["PLC_URL", "APPVIEW_URL"] {
            let with = |url: &str| Config::load(&Source::of("", &[(name, url)]));
            assert!(with("http://127.0.0.1:2582/plc/").is_ok(), "{name}");
            for url in ["plc.directory", "https://", "https://plc.directory/?did="] {
                assert!(with(url).is_err(), "{name} {url}");
            }
        }
    }

    #[test]
    fn a_service_is_named_without_a_user_whose_password_nobody_would_send() {
        for name in ["PLC_URL", "APPVIEW_URL", "ACME_DIRECTORY"] {
            let with = |url: &str| Config::load(&Source::of("", &[(name, url)]));
            assert!(with("https://host.example/directory").is_ok(), "{name}");
            assert!(
                with("https://u:p@host.example/directory").is_err(),
                "{name}"
            );
        }
    }
}

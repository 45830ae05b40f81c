//! Pure. Every key of the configuration, in the order in which it is shown.

mod appview;
mod auth;
mod calls;
mod database;
mod edge;
mod events;
mod limits;
mod log;
mod penalties;
mod process;
mod retention;
mod session;
mod sockets;
mod tls;

use super::certificates_setting::CertificatesSetting;
use super::key::{Effect, Key};
use super::kinds::{Choice, Explained, Flag, List, Maybe, Number, Parsed, Path, Span, Unit};
use super::rules_setting::Rules;
use crate::outbound::Endpoint;

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    [
        edge::KEYS,
        tls::KEYS,
        auth::KEYS,
        appview::KEYS,
        limits::KEYS,
        sockets::KEYS,
        penalties::KEYS,
        calls::KEYS,
        session::KEYS,
        events::KEYS,
        database::KEYS,
        retention::KEYS,
        log::KEYS,
        process::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// What a service that the relay asks may be named by.
const SERVICE: &str = "an https URL; or http, unprotected, for one on this machine or a network that \
                       you trust";

const NETWORKS: &str = "networks, such as [\"10.0.0.0/8\", \"2001:db8::/32\"]; a single host is \
                        /32, or /128";

/// As whoever asks it reads the URL.
fn is_service(url: &str) -> bool {
    Endpoint::parse(url).is_ok()
}

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
            assert!(!key.table().is_empty(), "{key:?}");
        }
    }

    #[test]
    fn a_service_that_could_not_be_asked_is_refused_before_the_start() {
        for name in ["PLC_URL", "APPVIEW_URL"] {
            let with = |url: &str| {
                Config::load(&Source {
                    environment: [(name.to_owned(), url.to_owned())].into(),
                    ..Source::default()
                })
            };
            assert!(with("http://127.0.0.1:2582/plc/").is_ok(), "{name}");
            for url in ["plc.directory", "https://", "https://plc.directory/?did="] {
                assert!(with(url).is_err(), "{name} {url}");
            }
        }
    }
}

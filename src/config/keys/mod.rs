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
mod tls;

use super::certificates_setting::CertificatesSetting;
use super::key::{Effect, Key};
use super::kinds::{Choice, Explained, Flag, List, Maybe, Number, Parsed, Path, Span, Unit};
use super::rules_setting::Rules;

/// Every key.
pub fn all() -> impl Iterator<Item = &'static Key> {
    [
        edge::KEYS,
        tls::KEYS,
        auth::KEYS,
        appview::KEYS,
        limits::KEYS,
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

#[cfg(test)]
mod tests {
    use super::*;
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
}

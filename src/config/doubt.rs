//! Pure. What is allowed in a configuration and may not be what was meant.

use std::fmt;

use super::fault::Place;
use super::nearest::nearest;
use super::read::{Origins, Source};
use super::{Config, keys};

/// Something to tell an operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// A variable that no setting reads, and the one that it looks like.
    Misspelt { name: String, near: &'static str },
    /// A line of the file that says nothing, because a variable does.
    Overridden {
        key: &'static str,
        env: &'static str,
        line: Place,
    },
    /// What looks like a port of a did:web is a path there.
    DidPort { place: Place, port: u16 },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misspelt { name, near } => write!(
                f,
                "the environment has {name}, which no setting reads: did you mean {near}?"
            ),
            Self::Overridden { key, env, line } => write!(
                f,
                "the environment ({env}) overrides {key}, which stands in {line}"
            ),
            // Not the DID itself: the log names none.
            Self::DidPort { place, port } => write!(
                f,
                "{place}: auth.service_did: in a did:web what follows a colon is a path, whose \
                 document this relay does not serve; if {port} is a port, write %3A{port}"
            ),
        }
    }
}

/// Everything that is doubtful, in the order of names. `in_file` tells where the file sets
/// a key, `origins` where what is in force is set.
pub(super) fn doubts(
    source: &Source,
    in_file: &Origins,
    config: &Config,
    origins: &Origins,
) -> Vec<Doubt> {
    let is_set = |name: &str| source.environment.get(name).is_some_and(|v| !v.is_empty());
    let mut names: Vec<_> = source.environment.keys().collect();
    names.sort_unstable();
    let misspelt = names.into_iter().filter_map(|name| {
        let near = nearest(name, keys().map(|key| key.env), SLIPS_MAX)?;
        // Where the right one is set too, the other is somebody else's.
        (is_set(name) && !is_set(near)).then(|| Doubt::Misspelt {
            name: name.clone(),
            near,
        })
    });
    let overridden = keys().filter_map(|key| {
        let line = in_file.get(key.name)?.clone();
        is_set(key.env).then_some(Doubt::Overridden {
            key: key.name,
            env: key.env,
            line,
        })
    });
    let service_did = &config.auth.service_did;
    let place = origins.get("auth.service_did");
    let port = did_port(service_did).zip(place);
    let port = port.map(|(port, place)| Doubt::DidPort {
        place: place.clone(),
        port,
    });
    misspelt.chain(overridden).chain(port).collect()
}

/// The number that stands where a did:web has the first word of its path.
fn did_port(did: &str) -> Option<u16> {
    let (_host, path) = did.strip_prefix("did:web:")?.split_once(':')?;
    path.parse().ok()
}

/// Two letters that changed places are two edits. The environment is also that of other
/// programs, whose names are further away.
const SLIPS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let loaded = Config::load(&Source::of(text, environment)).unwrap();
        loaded.doubts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_variable_that_looks_like_one_of_ours_is_told() {
        for (name, near) in [
            ("DATABASE_ULR", "DATABASE_URL"),
            ("TLS_CRT", "TLS_CERT"),
            ("TLS_KEYS", "TLS_KEY"),
        ] {
            let meant =
                format!("the environment has {name}, which no setting reads: did you mean {near}?");
            assert_eq!(said("", &[(name, "x")]), [meant]);
        }
    }

    #[test]
    fn variables_of_other_programs_are_none_of_ours() {
        let others = [
            "PATH",
            "HOME",
            "LANG",
            "TERM",
            "USER",
            "SHELL",
            "PWD",
            "LOGNAME",
            "PGHOST",
            "TZ",
            "RUST_BACKTRACE",
            "CARGO_HOME",
            "HOSTNAME",
            "INVOCATION_ID",
            "NOTIFY_SOCKET",
            "STATE_DIRECTORY",
            "SSL_CERT_FILE",
            "POSTGRES_PASSWORD",
            "POSTGRES_USER",
            "KUBERNETES_SERVICE_HOST",
            "KUBERNETES_PORT_443_TCP",
            "JOURNAL_STREAM",
        ];
        let environment: Vec<_> = others.map(|name| (name, "x")).into();
        assert_eq!(said("", &environment), [""; 0]);
        // Someone else's database, beside ours; and what is empty is not set.
        let ours = ("DATABASE_URL", "postgres://relay@db/relay");
        assert_eq!(said("", &[ours, ("DATABASE_URI", "x")]), [""; 0]);
        assert_eq!(said("", &[("DATABASE_URI", "")]), [""; 0]);
    }

    #[test]
    fn a_line_that_a_variable_overrides_is_told() {
        let text = "[edge]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
        let meant = "the environment (TRUSTED_PROXIES) overrides edge.trusted_proxies, which stands \
                     in relay.toml:2";
        assert_eq!(said(text, &[("TRUSTED_PROXIES", "10.1.0.0/16")]), [meant]);
        assert_eq!(said(text, &[]), [""; 0]);
    }

    #[test]
    fn a_port_in_a_did_that_is_written_as_a_path_is_told() {
        let of = |did| said("", &[("SERVICE_DID", did)]);
        let [doubt] = &of("did:web:relay.example.com:8443")[..] else {
            panic!("no doubt, or several");
        };
        assert!(doubt.starts_with("environment SERVICE_DID: auth.service_did"));
        assert!(doubt.ends_with("write %3A8443"), "{doubt}");
        for did in [
            "did:web:relay.example.com",
            "did:web:relay.example.com%3A8443",
            "did:web:example.com:services:relay",
            "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
        ] {
            assert_eq!(of(did), [""; 0], "{did}");
        }
    }
}

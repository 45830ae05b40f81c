//! Finding `initdb` and `postgres` on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::PostgresError;

/// One installation.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    /// Such as `15.18`.
    pub(super) version: String,
}

impl Binaries {
    /// The first installation that can serve: the named directory only, or else PATH,
    /// then the usual places, newest first. `data_major` is the version that wrote the
    /// data, which no other can read.
    pub(super) fn find(
        named: Option<&Path>,
        data_major: Option<String>,
    ) -> Result<Self, PostgresError> {
        let places = match named {
            Some(dir) => vec![dir.to_owned()],
            None => usual_places(),
        };
        let mut found = places.iter().filter_map(|dir| Self::in_dir(dir)).peekable();
        let first = found.peek().cloned().ok_or(PostgresError::NotFound)?;
        match data_major {
            None => Ok(first),
            Some(data) => found
                .find(|binaries| major(&binaries.version) == data)
                .ok_or(PostgresError::Version {
                    data,
                    found: first.version,
                }),
        }
    }

    fn in_dir(dir: &Path) -> Option<Self> {
        let (initdb, postgres) = (dir.join("initdb"), dir.join("postgres"));
        if !initdb.is_file() {
            return None;
        }
        // "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let version = text.split_whitespace().nth(2)?.to_owned();
        Some(Self {
            initdb,
            postgres,
            version,
        })
    }
}

/// The part before the first dot.
fn major(version: &str) -> &str {
    version.split_once('.').map_or(version, |(major, _)| major)
}

fn usual_places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<_> = std::env::split_paths(&path).collect();
    for (parent, prefix, below) in VERSIONED {
        places.extend(newest_first(Path::new(parent), prefix, below));
    }
    places
}

/// Parent, what precedes the version in its children's names, and where in a child.
const VERSIONED: &[(&str, &str, &str)] = &[
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

fn newest_first(parent: &Path, prefix: &str, below: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut versions: Vec<(u32, String)> = names
        .filter_map(|name| Some((name.strip_prefix(prefix)?.parse().ok()?, name)))
        .collect();
    versions.sort_unstable_by(|left, right| right.cmp(left));
    versions
        .into_iter()
        .map(|(_, name)| parent.join(name).join(below))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_comes_first_by_number_not_by_letter() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["9", "15", "17", "common"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let found = newest_first(dir.path(), "", "bin");
        let expected = ["17", "15", "9"].map(|name| dir.path().join(name).join("bin"));
        assert_eq!(found, expected);
    }

    #[test]
    fn data_of_another_version_is_refused_with_both_versions_named() {
        let error = Binaries::find(None, Some("1".to_owned())).unwrap_err();
        let said = error.to_string();
        assert!(said.contains("of Postgres 1,"), "{said}");
    }
}

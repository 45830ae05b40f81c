//! Pure. What is wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::path::{Path, PathBuf};

/// One fault: where, which key, and what is allowed instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    pub place: Place,
    pub key: String,
    pub problem: String,
}

/// Where a value was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Place {
    /// Nowhere: the default stands.
    Default,
    Environment(&'static str),
    File {
        path: PathBuf,
        line: usize,
    },
}

/// Everything that is wrong. Never empty.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl Fault {
    pub fn new(place: Place, key: &str, problem: impl Into<String>) -> Self {
        Self {
            place,
            key: key.to_owned(),
            problem: problem.into(),
        }
    }
}

impl Place {
    pub(super) fn line(path: &Path, line: usize) -> Self {
        let path = path.to_owned();
        Self::File { path, line }
    }
}

impl Faults {
    /// All of these, if there are any.
    pub(super) fn found(faults: Vec<Fault>) -> Result<(), Self> {
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Self(faults)),
        }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            key,
            problem,
        } = self;
        match place {
            Place::Default => write!(f, "{key}: {problem}"),
            place if key.is_empty() => write!(f, "{place}: {problem}"),
            place => write!(f, "{place}: {key}: {problem}"),
        }
    }
}

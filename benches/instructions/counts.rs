//! The counts that are kept, and what has become of them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Instructions of one turn of each path, as one build takes them.
#[derive(Deserialize, Serialize)]
pub(crate) struct Counts {
    /// Counts of other builds say nothing about these.
    pub(crate) build: String,
    pub(crate) instructions: BTreeMap<String, u64>,
}

/// How a path differs from what was kept.
pub(crate) enum Change {
    Grown {
        name: String,
        before: u64,
        now: u64,
    },
    /// Less than before: worth keeping, so that it cannot grow back unseen.
    Shrunk {
        name: String,
        before: u64,
        now: u64,
    },
    New {
        name: String,
    },
    Gone {
        name: String,
    },
}

impl Counts {
    pub(crate) fn kept() -> Self {
        toml::from_str(&std::fs::read_to_string(FILE).unwrap()).unwrap()
    }

    pub(crate) fn keep(&self) {
        let text = format!("{HEAD}{}", toml::to_string(self).unwrap());
        std::fs::write(FILE, text).unwrap();
        println!("instructions: kept in {FILE}");
    }

    pub(crate) fn changes(&self, counted: &Self) -> Vec<Change> {
        let names = self.instructions.keys().chain(counted.instructions.keys());
        let names: std::collections::BTreeSet<&String> = names.collect();
        let change = |name: &String| {
            let before = self.instructions.get(name).copied();
            let now = counted.instructions.get(name).copied();
            let name = name.clone();
            let (before, now) = match (before, now) {
                (Some(before), Some(now)) => (before, now),
                (None, _) => return Some(Change::New { name }),
                (_, None) => return Some(Change::Gone { name }),
            };
            match now as f64 / before as f64 {
                ratio if ratio > GROWTH_MAX => Some(Change::Grown { name, before, now }),
                ratio if ratio < 1.0 / GROWTH_MAX => Some(Change::Shrunk { name, before, now }),
                _ => None,
            }
        };
        names.into_iter().filter_map(change).collect()
    }
}

impl Change {
    /// Less work is none.
    pub(crate) fn is_a_fault(&self) -> bool {
        !matches!(self, Self::Shrunk { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grown { name, before, now } | Self::Shrunk { name, before, now } => {
                let percent = (*now as f64 / *before as f64 - 1.0) * 100.0;
                write!(f, "{name} took {before}, takes {now}: {percent:+.1} %")
            }
            Self::New { name } => write!(f, "{name} has no kept count"),
            Self::Gone { name } => write!(f, "{name} has a kept count and is not counted"),
        }
    }
}

/// Hash tables are laid out by chance, which moves a count by less than one in a hundred.
const GROWTH_MAX: f64 = 1.05;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/instructions/counts.toml"
);

const HEAD: &str = "\
# Instructions of one turn of each hot path, counted by callgrind. `make bench` compares;
# `BLESS=1 cargo bench --bench instructions` writes this file.
";

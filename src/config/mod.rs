//! Text becomes the `Settings` that each area declares: from `relay.toml` and the
//! environment, checked as a whole, every fault reported at once.
//!
//! One table (`keys`) names each key once, with its environment variable, range and
//! reason. Reading, checking, printing, `relay.toml` itself and the documents all
//! follow from it; defaults come from the areas' own `Settings::default()`.
//!
//! # Why not serde
//!
//! A derived reader stops at the first fault, knows no ranges, no environment and no
//! documentation, and each of those would need a second list to drift from the first.

mod certificate_pairs;
mod change;
mod doubt;
mod env_file;
mod fault;
mod file;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod keys;
mod kinds;
mod nearest;
mod print;
mod read;
mod redact;
mod rules;
mod setting;
mod source;

pub use change::Change;
pub use doubt::Doubt;
pub use fault::{Fault, Faults, Place};
pub use files::look_for_files;
pub use key::{Effect, Key};
pub use keys::all as keys;
pub use print::{effective, env_template, settings_markdown, template};
pub use read::{Loaded, Source};
pub use source::wished_log_format;

use std::time::Duration;

use crate::store::DatabaseUrl;
use crate::{
    auth, blocks, edge, events, limits, postgres, retention, session, store, telemetry, tls, xrpc,
};

/// The whole configuration: a tree of every area's settings.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub acme: tls::AcmeSettings,
    pub auth: auth::Settings,
    pub blocks: blocks::Settings,
    pub database: Database,
    pub edge: edge::Settings,
    pub events: events::Settings,
    pub limits: limits::Settings,
    pub log: telemetry::Settings,
    pub process: Process,
    pub retention: retention::Settings,
    pub session: session::Settings,
    pub store: store::Settings,
    pub tls: tls::Settings,
    pub xrpc: xrpc::Settings,
}

/// Which Postgres holds everything.
#[derive(Clone, Debug, Default)]
pub struct Database {
    /// None: the relay runs a private Postgres of its own.
    pub url: Option<DatabaseUrl>,
    pub private: postgres::Settings,
}

/// The process as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Process {
    /// How long a stop waits for calls and sockets to end.
    pub drain_grace: Duration,
    /// How long before that it says that it is not ready, and takes new work still.
    pub drain_notice: Duration,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            drain_grace: Duration::from_secs(25),
            drain_notice: Duration::ZERO,
        }
    }
}

/// Writes into the log what may not be meant so.
pub fn tell(doubts: &[Doubt]) {
    for doubt in doubts {
        tracing::warn!(%doubt, "the configuration may not be what was meant");
    }
}

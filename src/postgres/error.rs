//! Pure. Why the private Postgres does not run, and what an operator can do about it.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error("cannot create its database")]
    CreateDatabase(#[source] tokio_postgres::Error),
    #[error("{} cannot be used", .path.display())]
    Directory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("initdb failed: {said}")]
    InitDb { said: String },
    #[error(
        "another mls-relay (process {pid}) is running on {}; stop it, or give this one a \
         data directory (RELAY_DATA_DIR) or a database (DATABASE_URL) of its own",
        .data_dir.display()
    )]
    InUse { data_dir: PathBuf, pid: String },
    #[error("a Postgres of an earlier run (process {pid}) does not stop")]
    Leftover { pid: i32 },
    #[error(
        "no Postgres found: install it (Debian: apt-get install postgresql), name its \
         directory (RELAY_PG_BIN), or give a database (DATABASE_URL)"
    )]
    NotFound,
    #[error("cannot run {}", .program.display())]
    Run {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "it is not safe to put a socket in {}: it belongs to someone else or others can \
         enter it",
        .0.display()
    )]
    SocketDirectory(PathBuf),
    #[error("it ended while starting: {said}")]
    StartFailed { said: String },
    #[error("it did not start in time: {said}")]
    StartTimeout { said: String },
    #[error(
        "the data is of Postgres {data}, but only {found} was found: install Postgres \
         {data}, name its directory (RELAY_PG_BIN), or move the data away"
    )]
    Version { data: String, found: String },
}

impl PostgresError {
    /// Whether trying again by itself can help.
    pub(super) fn is_transient(&self) -> bool {
        matches!(self, Self::StartFailed { .. })
    }
}

pub(super) fn unusable(path: &Path, source: io::Error) -> PostgresError {
    PostgresError::Directory {
        path: path.to_owned(),
        source,
    }
}

//! The cluster on disk: made once, by `initdb`, whole or not at all.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use tokio_postgres::NoTls;

use super::binaries::Binaries;
use super::error::{PostgresError, unusable};
use super::layout::Layout;
use super::owner::Owner;

pub(super) const USER: &str = "relay";
pub(super) const DATABASE: &str = "relay";

/// Makes the cluster if there is none. It is made beside its place and renamed, so
/// that a crash never leaves half of one.
pub(super) async fn ensure(
    layout: &Layout,
    binaries: &Binaries,
    durable: bool,
) -> Result<(), PostgresError> {
    if layout.cluster.is_dir() {
        return Ok(());
    }
    let beside = layout.dir.join("cluster.new");
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(unusable(&beside, error));
        }
        _ => {}
    }
    let mut initdb = Command::new(&binaries.initdb);
    initdb
        .arg("--pgdata")
        .arg(&beside)
        .args(["--username", USER, "--auth", "trust"])
        .args(["--encoding", "UTF8", "--locale", "C"]);
    if !durable {
        initdb.arg("--no-sync");
    }
    run_as(&mut initdb, layout.owner);
    let output = tokio::process::Command::from(initdb)
        // Whoever starts next must not meet it still writing.
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| PostgresError::Run {
            program: binaries.initdb.clone(),
            source,
        })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(PostgresError::InitDb { said });
    }
    fs::rename(&beside, &layout.cluster).map_err(|source| unusable(&layout.cluster, source))
}

/// Makes the relay's database in a running cluster if there is none.
pub(super) async fn ensure_database(
    layout: &Layout,
    start_timeout: Duration,
) -> Result<(), PostgresError> {
    let created = async {
        let url = layout.url("postgres");
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
        let commands = async {
            let exists = "SELECT 1 FROM pg_database WHERE datname = $1";
            if client.query_opt(exists, &[&DATABASE]).await?.is_none() {
                client.batch_execute("CREATE DATABASE relay").await?;
            }
            Ok(())
        };
        // The connection only moves while it is polled beside its commands.
        tokio::select! {
            done = commands => done,
            ended = connection => ended,
        }
    };
    match tokio::time::timeout(start_timeout, created).await {
        Ok(outcome) => outcome.map_err(PostgresError::CreateDatabase),
        Err(_) => Err(PostgresError::StartTimeout {
            said: "creating the database takes too long".to_owned(),
        }),
    }
}

/// Gives a command Postgres' user, and nothing of the relay's environment but PATH:
/// `PGOPTIONS` and its siblings would reach the server.
pub(super) fn run_as(command: &mut Command, owner: Owner) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command
        .env_clear()
        .env("PATH", path)
        .env("LC_ALL", "C")
        // The relay's own may be closed to that user.
        .current_dir("/");
    if owner.is_other {
        // Setting the user also drops root's supplementary groups.
        command.uid(owner.uid).gid(owner.gid);
    }
}

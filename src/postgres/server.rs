//! One run of the server: from its launch to its end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::NoTls;

use super::binaries::Binaries;
use super::error::{PostgresError, unusable};
use super::guard::{self, Guarded, QUIT_GRACE};
use super::layout::{self, Layout};
use super::leftover;
use super::settings::Settings;

/// A server that answered at least once.
#[derive(Debug)]
pub(super) struct Server {
    guarded: Guarded,
    cluster: std::path::PathBuf,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(super) async fn launch(
        settings: &Settings,
        layout: &Layout,
        binaries: &Binaries,
    ) -> Result<Self, PostgresError> {
        let log = open_log(layout).map_err(|source| unusable(&layout.log, source))?;
        let command = command(settings, layout, binaries);
        let guarded =
            guard::spawn(command, layout.owner, &log).map_err(|source| PostgresError::Run {
                program: binaries.postgres.clone(),
                source,
            })?;
        let mut server = Self {
            guarded,
            cluster: layout.cluster.clone(),
        };
        let deadline = Instant::now() + settings.start_timeout;
        let url = layout.url("postgres");
        loop {
            if answers(&url).await {
                return Ok(server);
            }
            let said = || last_words(&layout.log);
            if let Ok(Some(_)) = server.guarded.child.try_wait() {
                return Err(PostgresError::StartFailed { said: said() });
            }
            if Instant::now() > deadline {
                let said = said();
                server.stop(settings.stop_timeout).await;
                return Err(PostgresError::StartTimeout { said });
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Resolves when it has ended, which it does not do unasked.
    pub(super) async fn ended(&mut self) {
        // An error means that there is nothing left to wait for.
        let _ = self.guarded.child.wait().await;
    }

    /// Stops it cleanly; after `patience`, at once.
    pub(super) async fn stop(mut self, patience: Duration) {
        drop(self.guarded.pipe.take());
        if timeout(patience, self.guarded.child.wait()).await.is_ok() {
            return;
        }
        tracing::warn!("the private Postgres does not stop; cutting it off");
        leftover::quit(&self.cluster);
        let _ = timeout(QUIT_GRACE, self.guarded.child.wait()).await;
    }
}

fn command(settings: &Settings, layout: &Layout, binaries: &Binaries) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec![
        binaries.postgres.clone().into(),
        "-D".into(),
        layout.cluster.clone().into(),
        "-k".into(),
        layout.socket_dir.clone().into(),
    ];
    let durable = match settings.durable {
        true => &[][..],
        false => &[
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ],
    };
    let most = settings.connections.saturating_add(CONNECTIONS_OF_OTHERS);
    let options = OPTIONS.iter().chain(durable).map(OsString::from);
    for option in options.chain([format!("max_connections={most}").into()]) {
        command.push("-c".into());
        command.push(option);
    }
    command
}

/// Sized for one machine that also runs the relay. What touches durability stays at
/// Postgres' own, safe, defaults.
const OPTIONS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "shared_buffers=128MB",
    // Statements here are short and indexed; compiling them costs more than it saves.
    "jit=off",
    // Fewer, larger checkpoints: sends are write-heavy.
    "max_wal_size=1GB",
    "checkpoint_timeout=15min",
    "wal_compression=on",
    // A relay that vanished must not hold a lock or a snapshot for long.
    "idle_in_transaction_session_timeout=60s",
    // Statements and values carry identities: neither may reach the log.
    "log_min_messages=log",
    "log_min_error_statement=panic",
    "log_error_verbosity=terse",
    "log_statement=none",
    "log_parameter_max_length=0",
    "log_parameter_max_length_on_error=0",
    "log_checkpoints=off",
];

/// Operators, backups, and what a relay that died a moment ago has left.
const CONNECTIONS_OF_OTHERS: u32 = 80;

async fn answers(url: &str) -> bool {
    let asked = async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::select! {
            answer = client.batch_execute("") => answer,
            ended = connection => ended,
        }
    };
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .is_ok_and(|answer| answer.is_ok())
}

/// Appends; starts over, keeping the last one, when it has grown large.
fn open_log(layout: &Layout) -> io::Result<File> {
    if fs::metadata(&layout.log).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(&layout.log, layout.log.with_extension("log.1"))?;
    }
    let log = layout::open(&layout.log, OpenOptions::new().append(true))?;
    layout.owner.hand_over(&layout.log)?;
    Ok(log)
}

/// The end of the server's log, for an error's text.
fn last_words(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().rev().take(LAST_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

const LAST_LINES: usize = 3;

/// Of a private Postgres' log. One that is larger at a start is kept, and another begun.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Nobody feels it, and a look costs a connection.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of one look whether it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

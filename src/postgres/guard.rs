//! The guard: a shell between the relay and Postgres that stops Postgres when the
//! pipe from the relay closes, whoever or whatever closed it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::process::{Command, Stdio};
use std::time::Duration;

use std::os::unix::process::CommandExt;

use tokio::process::{Child, ChildStdin};

use super::cluster::run_as;
use super::owner::Owner;

/// A guarded Postgres. Dropping the pipe stops it.
#[derive(Debug)]
pub(super) struct Guarded {
    pub(super) child: Child,
    pub(super) pipe: Option<ChildStdin>,
}

/// Starts `command` (a program and its arguments) under a guard.
pub(super) fn spawn(command: Vec<OsString>, owner: Owner, log: &File) -> io::Result<Guarded> {
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", SCRIPT, "mls-relay-postgres-guard"])
        .args(command)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        // Ctrl-C goes to the terminal's whole group; Postgres must outlive the drain.
        .process_group(0);
    run_as(&mut shell, owner);
    let mut child = tokio::process::Command::from(shell).spawn()?;
    let pipe = child.stdin.take();
    Ok(Guarded { child, pipe })
}

/// SIGINT is Postgres' "fast" stop: transactions roll back, the cluster closes clean. One that
/// comes before it listens to signals is lost, so it is told until it has gone.
/// The watcher reads until the pipe's end; it is ended itself when Postgres goes first,
/// so that it can never signal a number that someone else has got since.
const SCRIPT: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
postgres=$!
{ read -r _ <&3; while kill -INT $postgres; do sleep 1; done; } 2>/dev/null &
watcher=$!
exec 3<&-
wait $postgres
status=$?
kill $watcher 2>/dev/null
exit $status
"#;

/// How long an immediate stop may take: it only ends processes.
pub(super) const QUIT_GRACE: Duration = Duration::from_secs(5);

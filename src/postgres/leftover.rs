//! A Postgres that an earlier relay left behind: found, made sure of, stopped.

use std::fs;
#[cfg(target_os = "linux")]
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::error::PostgresError;
use super::guard::QUIT_GRACE;

/// Stops whatever Postgres runs on `cluster`. The caller holds the relay's lock, so
/// there is no living relay that it could belong to.
pub(super) async fn stop(cluster: &Path, patience: Duration) -> Result<(), PostgresError> {
    let Some(pid) = recorded(cluster) else {
        return Ok(());
    };
    match holder(pid, cluster) {
        // Postgres clears a dead process' file by itself, after it has made sure that no
        // child of that process still works on the data.
        Holder::Gone => return Ok(()),
        // After a reboot or in a container the number is someone else's by now, and
        // Postgres would refuse to start because of it.
        Holder::SomeoneElse => {
            let _ = fs::remove_file(cluster.join("postmaster.pid"));
            return Ok(());
        }
        // Two servers on one cluster would destroy it: better none.
        Holder::Unknown => return Err(alive(pid)),
        Holder::Postgres => {}
    }
    tracing::warn!("stopping the Postgres of an earlier run");
    for (signal, grace) in [(Signal::INT, patience), (Signal::QUIT, QUIT_GRACE)] {
        // It may end on its own in between.
        let _ = kill_process(pid, signal);
        if gone_within(pid, cluster, grace).await {
            return Ok(());
        }
    }
    Err(alive(pid))
}

fn alive(pid: Pid) -> PostgresError {
    PostgresError::Leftover {
        pid: pid.as_raw_nonzero().get(),
    }
}

/// Cuts off the server of `cluster` at once; it recovers at its next start.
pub(super) fn quit(cluster: &Path) {
    if let Some(pid) = recorded(cluster).filter(|pid| holder(*pid, cluster) == Holder::Postgres) {
        let _ = kill_process(pid, Signal::QUIT);
    }
}

/// The process that the cluster's own lock file names.
fn recorded(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

async fn gone_within(pid: Pid, cluster: &Path, grace: Duration) -> bool {
    let deadline = Instant::now() + grace;
    while holder(pid, cluster) == Holder::Postgres {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// What has the process number that a cluster's lock file names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holder {
    Gone,
    Postgres,
    SomeoneElse,
    Unknown,
}

/// A server keeps the command line that we started it with, and everyone may read it.
#[cfg(target_os = "linux")]
fn holder(pid: Pid, cluster: &Path) -> Holder {
    let pid = pid.as_raw_nonzero();
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) if line.is_empty() => Holder::Gone, // A zombie has none.
        Ok(line) => {
            let cluster = cluster.as_os_str().as_encoded_bytes();
            let is_ours = line.split(|byte| *byte == 0).any(|word| word == cluster);
            if is_ours {
                Holder::Postgres
            } else {
                Holder::SomeoneElse
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Holder::Gone,
        // It ended while we looked.
        Err(error) if error.raw_os_error() == Some(ESRCH) => Holder::Gone,
        Err(_) => Holder::Unknown,
    }
}

/// No such process.
#[cfg(target_os = "linux")]
const ESRCH: i32 = 3;

#[cfg(not(target_os = "linux"))]
fn holder(pid: Pid, cluster: &Path) -> Holder {
    let pid = pid.as_raw_nonzero().to_string();
    let output = std::process::Command::new("ps")
        .args(["-o", "command=", "-p", &pid])
        .output();
    let Ok(output) = output else {
        return Holder::Unknown;
    };
    let line = String::from_utf8_lossy(&output.stdout);
    match line.trim() {
        "" => Holder::Gone,
        line if line.contains(&*cluster.to_string_lossy()) => Holder::Postgres,
        _ => Holder::SomeoneElse,
    }
}

/// Nobody feels it, and a look costs a process or a file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const CLUSTER: &str = "/nowhere/of/this/test";

    #[test]
    fn a_process_is_known_by_the_cluster_on_its_command_line() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read -r _", "postgres", "-D", CLUSTER])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        // A process that is only just starting has no command line yet.
        let deadline = Instant::now() + Duration::from_secs(10);
        while holder(pid, Path::new(CLUSTER)) == Holder::Gone {
            assert!(Instant::now() < deadline, "it did not start");
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(holder(pid, Path::new(CLUSTER)), Holder::Postgres);
        assert_eq!(holder(pid, Path::new("/nowhere/else")), Holder::SomeoneElse);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(holder(pid, Path::new(CLUSTER)), Holder::Gone);
    }

    #[tokio::test]
    async fn a_number_that_someone_else_has_by_now_is_forgotten_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("postmaster.pid");
        fs::write(&file, format!("{}\n", std::process::id())).unwrap();
        stop(dir.path(), Duration::from_secs(1)).await.unwrap();
        assert!(!file.exists());
    }
}

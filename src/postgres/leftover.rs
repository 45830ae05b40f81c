//! A Postgres that an earlier relay left behind: found, made sure of, stopped.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};

use super::error::PostgresError;
use super::guard::QUIT_GRACE;

/// Stops whatever Postgres runs on `cluster`. The caller holds the relay's lock, so
/// there is no living relay that it could belong to.
pub(super) async fn stop(cluster: &Path, patience: Duration) -> Result<(), PostgresError> {
    let Some(pid) = recorded(cluster) else {
        return Ok(());
    };
    if !is_postgres_of(pid, cluster) {
        forget_if_reused(pid, cluster);
        return Ok(());
    }
    tracing::warn!("stopping the Postgres of an earlier run");
    for (signal, grace) in [(Signal::INT, patience), (Signal::QUIT, QUIT_GRACE)] {
        // It may end on its own in between.
        let _ = kill_process(pid, signal);
        if gone_within(pid, cluster, grace).await {
            return Ok(());
        }
    }
    Err(PostgresError::Leftover {
        pid: pid.as_raw_nonzero().get(),
    })
}

/// Cuts off the server of `cluster` at once; it recovers at its next start.
pub(super) fn quit(cluster: &Path) {
    if let Some(pid) = recorded(cluster).filter(|pid| is_postgres_of(*pid, cluster)) {
        let _ = kill_process(pid, Signal::QUIT);
    }
}

/// The process that the cluster's own lock file names.
fn recorded(cluster: &Path) -> Option<Pid> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// After a reboot or in a container the number may be anyone's by now, and Postgres
/// would then refuse to start. A dead process' file it clears by itself, which also
/// checks for surviving children, so that one stays.
fn forget_if_reused(pid: Pid, cluster: &Path) {
    if test_kill_process(pid).is_ok() {
        let _ = fs::remove_file(cluster.join("postmaster.pid"));
    }
}

async fn gone_within(pid: Pid, cluster: &Path, grace: Duration) -> bool {
    let deadline = Instant::now() + grace;
    while is_postgres_of(pid, cluster) {
        if Instant::now() > deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
    true
}

/// Postgres works inside its data directory, so the kernel tells whose it is. A zombie
/// has no directory: it counts as gone.
#[cfg(target_os = "linux")]
fn is_postgres_of(pid: Pid, cluster: &Path) -> bool {
    let pid = pid.as_raw_nonzero();
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == cluster)
}

#[cfg(not(target_os = "linux"))]
fn is_postgres_of(pid: Pid, cluster: &Path) -> bool {
    let pid = pid.as_raw_nonzero().to_string();
    let output = std::process::Command::new("ps")
        .args(["-o", "command=", "-p", &pid])
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains(&*cluster.to_string_lossy())
    })
}

const LOOK_EVERY: Duration = Duration::from_millis(20);

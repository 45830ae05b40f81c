//! Postgres' programs as this machine has them, and the user whom they run as.

use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The newest Postgres that is installed.
pub(crate) struct PostgresTools {
    pub(crate) bin: PathBuf,
    owner: Option<(u32, u32)>,
}

impl PostgresTools {
    pub(crate) fn find() -> Self {
        let versions = std::fs::read_dir("/usr/lib/postgresql");
        let versions = versions.into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
        found.retain(|bin| bin.join("initdb").exists());
        found.sort();
        Self {
            bin: found
                .pop()
                .expect("Postgres is installed: see `make` for what installs it"),
            owner: unprivileged_owner(),
        }
    }

    /// One of the programs, or another by its whole path.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir("/");
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    pub(crate) fn hand_over(&self, path: &Path) {
        if let Some((uid, gid)) = self.owner {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    /// Lays down the files of a cluster that nobody has used, in a directory that is not there
    /// yet. `initdb` takes a second of the processor, a copy of what it once made a tenth.
    pub(crate) fn lay_down(&self, data: &Path) {
        let blank = self.kept("blank");
        if blank.exists() {
            // Some disks are to be full, and its log must have its room there.
            return copy(&blank, data, "never");
        }
        let made = self
            .command("initdb")
            .args(["--username=relay", "--auth=trust"])
            .args(["--encoding=UTF8", "--locale=C", "--no-sync", "--pgdata"])
            .arg(data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        keep(data, &blank);
    }

    /// Where the files of a cluster are kept, once they are made, for all tests to come.
    pub(crate) fn kept(&self, name: &str) -> PathBuf {
        let of = self.bin.display().to_string().replace('/', "-");
        let owner = self
            .owner
            .map_or("own".to_owned(), |(uid, _)| uid.to_string());
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}{of}-{owner}"))
    }
}

/// Keeps a copy, whole or not at all: other tests may be about the same, and the first one wins.
pub(crate) fn keep(data: &Path, kept: &Path) {
    let beside = TempDir::new_in(kept.parent().unwrap()).unwrap();
    let partial = beside.path().join("data");
    copy(data, &partial, "always");
    let _ = std::fs::rename(&partial, kept);
}

/// Copies a directory with its owners, who may not be ours, and leaves holes where files have
/// nothing: always, never, or where there were some.
pub(crate) fn copy(from: &Path, to: &Path, holes: &str) {
    let mut cp = Command::new("cp");
    cp.arg("-a").arg(format!("--sparse={holes}"));
    let copied = cp.arg(from).arg(to).status();
    assert!(copied.unwrap().success(), "cp failed");
}

/// Postgres refuses to run as root: then as `postgres`, else as `nobody`.
fn unprivileged_owner() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").map_or(1, |me| me.uid()) != 0 {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find(|line| line.starts_with("postgres:"));
    let numbers = entry.and_then(|line| {
        let mut fields = line.split(':').skip(2).map(str::parse);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    });
    Some(numbers.unwrap_or((65534, 65534)))
}

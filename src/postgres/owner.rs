//! Under which user Postgres runs: it refuses to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

/// A user and its group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Whether it is another user than the relay's, so that files must be handed over.
    pub(super) is_other: bool,
}

impl Owner {
    /// The relay's own user. For root: whoever owns the data already, else `postgres`,
    /// else `nobody`.
    pub(super) fn choose(data_dir: &Path) -> Self {
        let me = rustix::process::geteuid();
        if !me.is_root() {
            return Self {
                uid: me.as_raw(),
                gid: rustix::process::getegid().as_raw(),
                is_other: false,
            };
        }
        let (uid, gid) = owner_of(data_dir)
            .or_else(|| in_passwd("postgres"))
            .or_else(|| in_passwd("nobody"))
            .unwrap_or((NOBODY, NOBODY));
        Self {
            uid,
            gid,
            is_other: true,
        }
    }

    /// Gives it to this user: a link itself, and not what it leads to.
    pub(super) fn hand_over(self, path: &Path) -> io::Result<()> {
        match self.is_other {
            true => lchown(path, Some(self.uid), Some(self.gid)),
            false => Ok(()),
        }
    }

    /// Whether it can get to `path`: every directory above lets it through.
    pub(super) fn can_reach(self, path: &Path) -> bool {
        path.ancestors().skip(1).all(|dir| {
            fs::metadata(dir).map_or(true, |dir| {
                let bit = match (dir.uid() == self.uid, dir.gid() == self.gid) {
                    (true, _) => 0o100,
                    (false, true) => 0o010,
                    (false, false) => 0o001,
                };
                dir.mode() & bit != 0
            })
        })
    }
}

fn owner_of(path: &Path) -> Option<(u32, u32)> {
    let metadata = fs::metadata(path).ok()?;
    (metadata.uid() != 0).then(|| (metadata.uid(), metadata.gid()))
}

/// The user's numbers, from the machine's own list of users.
fn in_passwd(name: &str) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    parse_passwd(&passwd, name)
}

fn parse_passwd(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let fields = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name))?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// What every system reserves for it.
const NOBODY: u32 = 65_534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:8::/:\npostgres:x:101:104:,,,:/:\n";
        assert_eq!(parse_passwd(passwd, "postgres"), Some((101, 104)));
        assert_eq!(parse_passwd(passwd, "nobody"), None);
    }

    #[test]
    fn a_closed_directory_on_the_way_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let stranger = Owner {
            uid: 4_000_000,
            gid: 4_000_000,
            is_other: true,
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!stranger.can_reach(&dir.path().join("data")));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_reach(&dir.path().join("data")));
    }
}

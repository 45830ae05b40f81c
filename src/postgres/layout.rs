//! Where everything of the private Postgres is, and the lock that one relay holds.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::error::{PostgresError, unusable};
use super::owner::Owner;
use crate::types::{hex, sha256};

#[derive(Debug)]
pub(super) struct Layout {
    /// Holds all of the following but, sometimes, the socket.
    pub(super) dir: PathBuf,
    /// What Postgres calls its data directory.
    pub(super) cluster: PathBuf,
    pub(super) socket_dir: PathBuf,
    pub(super) log: PathBuf,
    pub(super) owner: Owner,
    /// Held as long as this lives.
    _lock: File,
}

impl Layout {
    /// Makes the directories and takes the lock.
    pub(super) fn prepare(data_dir: &Path) -> Result<Self, PostgresError> {
        let dir = std::path::absolute(data_dir).map_err(|source| unusable(data_dir, source))?;
        let owner = Owner::choose(&dir);
        let dir = reachable(dir, owner);
        make(&dir, owner).map_err(|source| unusable(&dir, source))?;
        // Symbolic links resolved: it is compared with what the kernel says later.
        let dir = dir
            .canonicalize()
            .map_err(|source| unusable(&dir, source))?;
        let lock = lock(&dir)?;
        let socket_dir = socket_dir(&dir, owner)?;
        Ok(Self {
            cluster: dir.join("cluster"),
            socket_dir,
            log: dir.join("postgres.log"),
            owner,
            dir,
            _lock: lock,
        })
    }

    /// The version that wrote the data. None: there is none yet.
    pub(super) fn major_version(&self) -> Result<Option<String>, PostgresError> {
        let path = self.cluster.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(unusable(&path, source)),
        }
    }

    /// Removes the socket's directory when it is not among the data.
    pub(super) fn tidy_up(&self) {
        if !self.socket_dir.starts_with(&self.dir) {
            // Whatever keeps it there keeps nobody from using it again.
            let _ = fs::remove_dir(&self.socket_dir);
        }
    }

    /// How to connect to one of its databases.
    pub(super) fn url(&self, database: &str) -> String {
        let host = self.socket_dir.as_os_str().as_encoded_bytes();
        let host: String = form_urlencoded::byte_serialize(host).collect();
        // Only in forms is a plus a space.
        let host = host.replace('+', "%20");
        format!("postgresql://{}@{host}/{database}", super::cluster::USER)
    }
}

/// Where Postgres' user can go. A checkout in root's home is closed to it; the data
/// then lives where services keep theirs, one place for each such directory.
fn reachable(dir: PathBuf, owner: Owner) -> PathBuf {
    match owner.can_reach(&dir) {
        true => dir,
        false => Path::new("/var/lib/mls-relay").join(short_name(&dir)),
    }
}

fn make(dir: &Path, owner: Owner) -> io::Result<()> {
    if dir.is_dir() {
        return owner.hand_over(&dir.canonicalize()?);
    }
    for parent in missing_above(dir) {
        fs::create_dir(parent)?;
        if owner.is_other {
            // Under a strict umask it would be closed to Postgres' user.
            fs::set_permissions(parent, fs::Permissions::from_mode(PASSABLE))?;
        }
    }
    DirBuilder::new().mode(PRIVATE).create(dir)?;
    owner.hand_over(dir)
}

/// The directories above that are not there yet, topmost first.
fn missing_above(dir: &Path) -> Vec<&Path> {
    let above = dir.ancestors().skip(1);
    let mut missing: Vec<_> = above.take_while(|parent| !parent.exists()).collect();
    missing.reverse();
    missing
}

/// One relay at a time. The kernel lets go of the lock when its holder ends, however.
fn lock(dir: &Path) -> Result<File, PostgresError> {
    let path = dir.join("relay.lock");
    let file = open(&path, OpenOptions::new().read(true).write(true));
    let mut file = file.map_err(|source| unusable(&path, source))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut pid);
            return Err(PostgresError::InUse {
                data_dir: dir.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(unusable(&path, source)),
    }
    write_pid(&mut file).map_err(|source| unusable(&path, source))?;
    Ok(file)
}

/// Opens a file in a directory of Postgres' user, or makes it. We may be root, so a link that this
/// user has put in its place is not followed.
pub(super) fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    options.create(true).custom_flags(flags).open(path)
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

/// Beside the data, or under the temporary directory when that path would be longer
/// than a socket's may be.
fn socket_dir(dir: &Path, owner: Owner) -> Result<PathBuf, PostgresError> {
    let beside = dir.join("run");
    let place = match beside.as_os_str().len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX {
        true => beside,
        false => Path::new("/tmp").join(format!("mls-relay-{}", short_name(dir))),
    };
    if let Err(source) = DirBuilder::new().mode(PRIVATE).create(&place)
        && source.kind() != ErrorKind::AlreadyExists
    {
        return Err(unusable(&place, source));
    }
    // Anyone may make a directory in /tmp first; connections are trusted by it alone. So one that
    // is neither its user's nor ours is not handed over either.
    let found = fs::symlink_metadata(&place).map_err(|source| unusable(&place, source))?;
    let is_known = [owner.uid, geteuid().as_raw()].contains(&found.uid());
    if !(found.is_dir() && is_known && found.mode() & 0o077 == 0) {
        return Err(PostgresError::SocketDirectory(place));
    }
    let handed_over = owner.hand_over(&place);
    handed_over.map_err(|source| unusable(&place, source))?;
    Ok(place)
}

/// A name that is always the same for the same directory.
fn short_name(dir: &Path) -> String {
    hex(&sha256(dir.as_os_str().as_encoded_bytes())[..8])
}

const PRIVATE: u32 = 0o700;

const PASSABLE: u32 = 0o755;

/// What Postgres calls its socket, with its lock file's suffix to be safe.
const SOCKET_NAME: &str = "/.s.PGSQL.5432.lock";

/// `sun_path` holds 108 bytes on Linux and 104 on macOS, with the closing zero.
const SOCKET_PATH_MAX: usize = 103;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_second_relay_on_the_same_data_is_refused_with_the_first_ones_process() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = Layout::prepare(&data).unwrap();
        let said = Layout::prepare(&data).unwrap_err().to_string();
        assert!(
            said.contains(&format!("process {}", std::process::id())),
            "{said}"
        );
        drop(first);
        Layout::prepare(&data).unwrap();
    }

    #[test]
    fn the_url_leads_to_the_socket_whatever_its_directory_is_called() {
        let layout = Layout {
            dir: PathBuf::new(),
            cluster: PathBuf::new(),
            socket_dir: "/run/a b+c@d%e?f/é".into(),
            log: PathBuf::new(),
            owner: Owner::choose(Path::new("/")),
            _lock: tempfile::tempfile().unwrap(),
        };
        let config: tokio_postgres::Config = layout.url("relay").parse().unwrap();
        let socket = tokio_postgres::config::Host::Unix(layout.socket_dir);
        assert_eq!(config.get_hosts(), [socket]);
    }

    #[test]
    fn a_deep_directory_gets_a_short_socket_path() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(&dir.path().join("d".repeat(90))).unwrap();
        assert!(layout.socket_dir.starts_with("/tmp"));
        let socket = layout.socket_dir.as_os_str().len() + SOCKET_NAME.len();
        assert!(socket <= SOCKET_PATH_MAX);
        fs::remove_dir(&layout.socket_dir).unwrap();
    }

    #[test]
    fn a_directory_that_somebody_else_has_made_gets_no_socket_and_no_other_owner() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("d".repeat(90));
        let place = Path::new("/tmp").join(format!("mls-relay-{}", short_name(&data)));
        let owner = Owner::choose(&data);
        let is_refused = || {
            matches!(
                socket_dir(&data, owner),
                Err(PostgresError::SocketDirectory(_))
            )
        };
        DirBuilder::new().mode(PRIVATE).create(&place).unwrap();
        match owner.is_other {
            true => chown(&place, Some(54_321), None).unwrap(),
            false => fs::set_permissions(&place, fs::Permissions::from_mode(PASSABLE)).unwrap(),
        }
        let made_by = fs::metadata(&place).unwrap().uid();
        assert!(is_refused());
        assert_eq!(fs::metadata(&place).unwrap().uid(), made_by);
        fs::remove_dir(&place).unwrap();

        symlink(dir.path(), &place).unwrap();
        let target = fs::metadata(&place).unwrap().uid();
        assert!(is_refused());
        assert_eq!(fs::metadata(&place).unwrap().uid(), target);
        fs::remove_file(&place).unwrap();
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("of somebody else");
        fs::write(&target, "kept").unwrap();
        symlink(&target, dir.path().join("relay.lock")).unwrap();
        assert!(lock(dir.path()).is_err());
        assert_eq!(fs::read(&target).unwrap(), b"kept");
    }
}

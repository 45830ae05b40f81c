//! Whether a file is another one than before, by its metadata.
//!
//! # Why not inotify
//!
//! It watches names, not what they lead to: Kubernetes swaps a link two directories
//! away, editors rename, network and overlay file systems say nothing. One `stat` that
//! follows links sees all of these alike, costs a microsecond, and needs no thread.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Differs whenever the file's content does: which file it is, how long, and when it
/// was last written or renamed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    len: u64,
    written: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// The stamp of what is at `path` now, links followed. None: nothing readable.
    pub async fn of(path: &Path) -> Option<Self> {
        let found = tokio::fs::metadata(path).await.ok()?;
        Some(Self {
            device: found.dev(),
            inode: found.ino(),
            len: found.len(),
            written: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[tokio::test]
    async fn writing_renaming_and_swapping_a_link_are_seen_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("one")).unwrap();
        fs::create_dir(path("two")).unwrap();
        fs::write(path("one/relay.toml"), "a").unwrap();
        fs::write(path("two/relay.toml"), "a").unwrap();
        // As Kubernetes mounts a ConfigMap: relay.toml -> ..data/relay.toml, ..data -> one.
        symlink("one", path("..data")).unwrap();
        symlink("..data/relay.toml", path("relay.toml")).unwrap();
        let watched = path("relay.toml");
        let first = FileStamp::of(&watched).await;
        assert!(first.is_some());
        assert_eq!(FileStamp::of(&watched).await, first);

        symlink("two", path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        let swapped = FileStamp::of(&watched).await;
        assert_ne!(swapped, first);

        fs::write(path("new"), "a").unwrap();
        fs::rename(path("new"), path("two/relay.toml")).unwrap();
        let renamed = FileStamp::of(&watched).await;
        assert_ne!(renamed, swapped);

        fs::write(&watched, "ab").unwrap();
        assert_ne!(FileStamp::of(&watched).await, renamed);
        fs::remove_file(path("two/relay.toml")).unwrap();
        assert_eq!(FileStamp::of(&watched).await, None);
    }
}

//! A file system of its own for what is measured, where freed room is not reported to the
//! disk at once: with the mount option `discard`, a deletion lasts as long as the disk
//! takes to hear of it, so that every way of deleting measures the disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file with a file system in it, mounted until dropped; or a plain directory, where
/// nothing may be mounted or nothing needs to be.
pub(crate) struct Volume {
    directory: TempDir,
    is_mounted: bool,
}

impl Volume {
    /// Where an image of so many GiB is needed to get around `discard`, it is made.
    pub(crate) fn new(gib: u32) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("mlsv")
            .tempdir_in("/var/tmp")
            .unwrap();
        let mut volume = Self {
            directory,
            is_mounted: false,
        };
        if reports_freed_room(volume.directory.path()) {
            volume.is_mounted = volume.mount(gib);
            println!(
                "# the file system reports freed room to the disk at once (discard): {}",
                match volume.is_mounted {
                    true => "measured on one in a file, which does not",
                    false => "and no other can be mounted here",
                }
            );
        }
        volume
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self.is_mounted {
            true => self.directory.path().join("mounted"),
            false => self.directory.path().to_owned(),
        }
    }

    fn mount(&self, gib: u32) -> bool {
        let (image, place) = (
            self.directory.path().join("image"),
            self.directory.path().join("mounted"),
        );
        std::fs::create_dir(&place).unwrap();
        let size = format!("{gib}G");
        run("truncate", &["-s", &size, path(&image)])
            && run(
                "mkfs.ext4",
                &[
                    "-q",
                    "-F",
                    "-E",
                    "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                    path(&image),
                ],
            )
            && run(
                "mount",
                &["-o", "loop,nodiscard", path(&image), path(&place)],
            )
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            run("umount", &["-l", path(&self.path())]);
        }
    }
}

/// Whether the mount that holds a path has the option `discard`.
fn reports_freed_room(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, _, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        Some((place, options))
    });
    // The longest one that holds the path, and of those the last one mounted.
    let holding = mounts.filter(|(place, _)| path.starts_with(place));
    let innermost = holding.max_by_key(|(place, _)| place.len());
    innermost.is_some_and(|(_, options)| options.split(',').any(|option| option == "discard"))
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let ran = Command::new(program).args(arguments).status();
    ran.is_ok_and(|status| status.success())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

//! The files that a run leaves.

use std::fs::OpenOptions;
use std::path::Path;

/// Refuses a file that cannot be written, before there is anything to write.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let was_there = path.exists();
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    let opened = options.open(path);
    opened.map_err(|error| cannot(path, &error))?;
    if !was_there {
        // Who fails here fails at the end, too, and says why.
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

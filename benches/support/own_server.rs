//! This program once more, as a server to compare the relay with.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that has printed its port, and ends with this.
pub(crate) struct OwnServer {
    child: Child,
    pub(crate) port: u16,
}

impl OwnServer {
    /// Starts it with these arguments and a file's name after them.
    pub(crate) fn start(arguments: &[&str], file: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .arg(file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        let port = port.trim().parse().unwrap();
        Self { child, port }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

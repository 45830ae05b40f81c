//! Proxies in front of relays, run for real.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A proxy that operators put in front of the relay. It ends with the test.
pub(crate) struct Front {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Front {
    /// Starts a proxy and waits until it listens.
    pub(crate) fn start(
        home: &Path,
        program: &str,
        arguments: &[&str],
        address: SocketAddr,
    ) -> Self {
        let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
            .map(|dir| Path::new(dir).join(program))
            .into_iter()
            .find(|path| path.exists());
        let found =
            found.unwrap_or_else(|| panic!("{program} is missing: `make test` installs it"));
        let child = Command::new(found)
            .args(arguments)
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut front = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(address).is_err() {
            let ended = front.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            assert!(Instant::now() < deadline, "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        front
    }
}

/// Over every deadline here, with room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

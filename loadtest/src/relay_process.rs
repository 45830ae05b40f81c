//! A relay of our own for the length of a run: the built `mls-relay` on free
//! ports, with a directory of its own that goes when the run ends, and with it
//! its private Postgres.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::directory::ANY_PORT;
use crate::relay::{ConnectError, Relay};

/// Who a relay of our own is.
pub const SERVICE_DID: &str = "did:web:localhost";

/// What the relay gets of our own environment. A setting that an operator has in
/// the shell is meant for another relay.
const KEPT: [&str; 7] = [
    "HOME",
    "LANG",
    "PATH",
    "RELAY_PG_BIN",
    "RUST_BACKTRACE",
    "RUST_LOG",
    "TMPDIR",
];

/// `initdb` on a busy machine takes a while.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The drain, then Postgres' own stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum RelayProcessError {
    #[error("{0} is not built; `make demo` builds it")]
    NotBuilt(PathBuf),
    #[error("cannot start the relay")]
    Io(#[from] io::Error),
    #[error("the relay ended by itself with {status}; its last words:\n{said}")]
    Ended { status: ExitStatus, said: String },
    #[error("the relay was not ready in time; its last words:\n{said}")]
    NotReady { said: String },
}

/// What a relay is started with. Everything else is its default.
#[derive(Clone, Debug)]
pub struct RelayOptions {
    pub binary: PathBuf,
    pub service_did: String,
    pub plc_url: String,
    /// More settings, by the names that operators use.
    pub environment: Vec<(String, String)>,
    /// Ctrl-C goes to all of a terminal's group: whether this relay is in another one. Who
    /// asks for that heeds signals, and stops it.
    pub survives_ctrl_c: bool,
}

/// A running relay. Dropping it, also in a panic, stops it and removes its data.
#[derive(Debug)]
pub struct RelayProcess {
    child: Child,
    directory: TempDir,
    /// Nowhere until it says where.
    public: SocketAddr,
    admin: SocketAddr,
    service_did: String,
}

/// Where cargo puts the relay: beside the program that asks.
pub fn built_relay() -> io::Result<PathBuf> {
    let mut path = std::env::current_exe()?;
    path.pop();
    if path.ends_with("deps") || path.ends_with("examples") {
        path.pop();
    }
    path.push("mls-relay");
    Ok(path)
}

impl RelayProcess {
    /// Starts the relay that was built beside this program, with these settings.
    pub async fn start_built(
        plc_url: String,
        environment: Vec<(String, String)>,
    ) -> Result<Self, RelayProcessError> {
        let options = RelayOptions {
            binary: built_relay()?,
            service_did: SERVICE_DID.to_owned(),
            plc_url,
            environment,
            survives_ctrl_c: false,
        };
        Self::start(&options).await
    }

    /// Starts a relay and waits until it says that it is ready.
    pub async fn start(options: &RelayOptions) -> Result<Self, RelayProcessError> {
        if !options.binary.is_file() {
            return Err(RelayProcessError::NotBuilt(options.binary.clone()));
        }
        let directory = TempDir::with_prefix("mls-relay-")?;
        // The private Postgres of a relay started by root is another user.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755))?;
        let log = std::fs::File::create(log_file(directory.path()))?;
        let mut command = Command::new(&options.binary);
        if options.survives_ctrl_c {
            command.process_group(0);
        }
        let child = command
            .arg("serve")
            .current_dir(directory.path())
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == kept)))
            .env("RELAY_LISTEN", ANY_PORT.to_string())
            .env("RELAY_ADMIN_LISTEN", ANY_PORT.to_string())
            .env("SERVICE_DID", &options.service_did)
            .env("PLC_URL", &options.plc_url)
            .envs(options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut relay = Self {
            child,
            directory,
            public: ANY_PORT,
            admin: ANY_PORT,
            service_did: options.service_did.clone(),
        };
        (relay.public, relay.admin) = relay.until_ready().await?;
        Ok(relay)
    }

    /// The public TLS port.
    pub fn public(&self) -> SocketAddr {
        self.public
    }

    /// The same as `host:port`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.public.port())
    }

    /// What its clients need to know of it.
    pub fn relay(&self) -> Result<Relay, ConnectError> {
        Relay::new(&self.address(), &self.service_did, &self.certificate())
    }

    /// The address of health and metrics.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The development certificate that the relay made for itself.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("certs/localhost.pem")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process has ended, which nobody asked it to do, and says how.
    pub async fn ended(&mut self) -> RelayProcessError {
        loop {
            match self.child.try_wait() {
                Ok(None) => sleep(POLL).await,
                Ok(Some(status)) => {
                    let said = self.last_words();
                    return RelayProcessError::Ended { status, said };
                }
                Err(error) => return error.into(),
            }
        }
    }

    /// What the relay has written so far.
    fn said(&self) -> String {
        std::fs::read_to_string(log_file(self.directory.path())).unwrap_or_default()
    }

    /// The end of that: a relay may have written for hours.
    pub fn last_words(&self) -> String {
        const LINES: usize = 20;
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let from = lines.len().saturating_sub(LINES);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    async fn until_ready(&mut self) -> Result<(SocketAddr, SocketAddr), RelayProcessError> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(addresses) = self.said().lines().find_map(addresses) {
                return Ok(addresses);
            }
            if let Some(status) = self.child.try_wait()? {
                let said = self.last_words();
                return Err(RelayProcessError::Ended { status, said });
            }
            sleep(POLL).await;
        }
        Err(RelayProcessError::NotReady {
            said: self.last_words(),
        })
    }

    /// Asks the relay to stop, and makes it when it does not.
    fn stop(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("the relay could not be stopped: {error}");
        }
    }
}

fn log_file(directory: &Path) -> PathBuf {
    directory.join("relay.log")
}

/// Where a relay that is ready says it listens, to clients and to operators:
/// `mls-relay is ready: https://A admin http://B`, where A may be `localhost:port`.
pub fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let rest = line.strip_prefix("mls-relay is ready: https://")?;
    let (public, admin) = rest.split_once(" admin http://")?;
    let public = public.replace("localhost", "127.0.0.1");
    Some((public.parse().ok()?, admin.parse().ok()?))
}

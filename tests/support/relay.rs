//! The built relay, run as operators run it: a process of its own, on free ports, in a
//! directory of its own. Dropping it, also in a panic, ends it and its Postgres.

#![allow(dead_code, reason = "each program uses its part of this")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use mls_relay_loadtest::ask;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Account;
use mls_relay_loadtest::relay as remote;
use mls_relay_loadtest::relay_process::addresses;
use mls_relay_loadtest::xrpc_client::{NAMESPACE, TOKEN_LIFE};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::database::{PostgresTools, furnish};

/// Who relays of tests are.
pub(crate) const SERVICE_DID: &str = "did:web:relay.test";

/// Where a call is.
pub(crate) fn path(call: &str) -> String {
    format!("/xrpc/{NAMESPACE}.{call}")
}

/// What proves an account for one call.
pub(crate) fn token(account: &Account, call: &str) -> String {
    let call = format!("{NAMESPACE}.{call}");
    let token = account.service_token(SERVICE_DID, &call, TOKEN_LIFE);
    token.unwrap()
}

/// Where a relay lives. Several may live there, one after the other.
#[derive(Clone)]
pub(crate) struct Home {
    dir: Arc<TempDir>,
    environment: Vec<(String, String)>,
    /// The relay that is run here.
    binary: PathBuf,
}

/// A relay that said that it is ready.
pub(crate) struct Relay {
    home: Home,
    child: Child,
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("mls-relay-").unwrap();
        // The private Postgres of a relay that root starts is another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            dir: Arc::new(dir),
            environment: Vec::new(),
            binary: env!("CARGO_BIN_EXE_mls-relay").into(),
        }
        .with("RELAY_LISTEN", "127.0.0.1:0")
        .with("RELAY_ADMIN_LISTEN", "127.0.0.1:0")
        .with("RELAY_PG_DURABLE", "false")
        // Room for fewer clients than any relay has, since each start makes it anew.
        .with("LIMIT_IP_KEYS_MAX", "10000")
        .with("LIMIT_DID_KEYS_MAX", "10000")
        .with("RUST_LOG", "info")
    }

    /// A home whose private Postgres was there before, as it is at every start but the
    /// first: none of its relays has to make one.
    pub(crate) fn lived_in() -> Self {
        let home = Self::new();
        let postgres = home.path().join(".relay/postgres");
        fs::create_dir_all(&postgres).unwrap();
        PostgresTools::find().hand_over(&postgres);
        furnish(&postgres.join("cluster"), "relay");
        home
    }

    /// A home whose relays use this database.
    pub(crate) fn on(database_url: &str) -> Self {
        Self::new().with("DATABASE_URL", database_url)
    }

    /// A home whose relays know of the accounts of this directory.
    pub(crate) fn knowing(self, directory: &Directory) -> Self {
        self.with("SERVICE_DID", SERVICE_DID)
            .with("PLC_URL", &directory.url())
    }

    /// Sets a variable for the relays to come.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same of several.
    pub(crate) fn with_all<N: AsRef<str>, V: AsRef<str>>(
        self,
        settings: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let settings = settings.into_iter();
        settings.fold(self, |home, (name, value)| {
            home.with(name.as_ref(), value.as_ref())
        })
    }

    /// The same home, for relays of another build.
    pub(crate) fn of(self, binary: PathBuf) -> Self {
        Self { binary, ..self }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A command of the relay, in this home and with nothing of the test's environment
    /// but where programs are.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Starts a relay and waits until it is ready, or until it refuses: its exit code, and
    /// what it said.
    fn try_start(&self) -> Result<Relay, (Option<i32>, String)> {
        let errors = self.path().join("errors.log");
        // Appending, so that two at work in one home do not write over each other.
        fs::write(&errors, "").unwrap();
        let stderr = File::options().append(true).open(&errors).unwrap();
        let mut child = self
            .command(&["serve"])
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        // Standard output closes when the process ends, so this does too.
        let ready = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| addresses(&line));
        match ready {
            Some((public, admin)) => Ok(Relay {
                home: self.clone(),
                child,
                public,
                admin,
            }),
            None => Err((
                child.wait().unwrap().code(),
                fs::read_to_string(errors).unwrap(),
            )),
        }
    }

    /// Starts a relay of which nobody hears when it is ready, and waits until it says so to
    /// whoever asks.
    pub(crate) async fn start_unheard(&self, stdout: Stdio, stderr: Stdio) -> Relay {
        self.start_until(StatusCode::OK, stdout, stderr).await
    }

    /// Starts a relay and waits until it says that it is not ready.
    pub(crate) async fn start_unready(&self) -> Relay {
        let refused = StatusCode::SERVICE_UNAVAILABLE;
        self.start_until(refused, Stdio::null(), Stdio::null())
            .await
    }

    async fn start_until(&self, says: StatusCode, stdout: Stdio, stderr: Stdio) -> Relay {
        let [public, admin] = [(); 2].map(|()| free_address());
        let mut command = self.command(&["serve"]);
        command.env("RELAY_LISTEN", public.to_string());
        command.env("RELAY_ADMIN_LISTEN", admin.to_string());
        let relay = Relay {
            home: self.clone(),
            child: command.stdout(stdout).stderr(stderr).spawn().unwrap(),
            public,
            admin,
        };
        eventually("it answers so", async || {
            let answer = ask::admin(admin, "/health/ready").await;
            answer.is_ok_and(|(status, _)| status == says)
        })
        .await;
        relay
    }

    pub(crate) fn start(&self) -> Relay {
        self.try_start()
            .unwrap_or_else(|refused| panic!("the relay did not start: {refused:?}"))
    }

    /// What a relay says that refuses to start with this code.
    pub(crate) fn refusal(&self, code: i32) -> String {
        let (ended_with, said) = self.try_start().err().expect("it starts");
        assert_eq!(ended_with, Some(code), "{said}");
        said
    }

    /// The process of the private Postgres, as its own file has it.
    pub(crate) fn postgres(&self) -> Option<Pid> {
        let path = self.path().join(".relay/postgres/cluster/postmaster.pid");
        let text = fs::read_to_string(path).ok()?;
        Pid::from_raw(text.lines().next()?.parse().ok()?)
    }

    /// The development certificate that relays of this home serve.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path().join("certs/localhost.pem")
    }
}

/// Free a moment ago, which is the best that one can say of a port.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Relay {
    /// A relay with defaults.
    pub(crate) fn start() -> Self {
        Home::lived_in().start()
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// What has come of its log: a thread of its own writes it, a moment later.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("errors.log")).unwrap()
    }

    /// Waits until it has logged a line with this in it; the line.
    pub(crate) fn says(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "{words:?} is not in\n{log}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until health says so: whether it serves, and what of its checks.
    pub(crate) async fn health_until(&self, what: &str, is_so: impl Fn(bool, &Value) -> bool) {
        eventually(what, async || {
            let (status, report) = self.health().await;
            assert_eq!(report["ready"], status == StatusCode::OK, "{report}");
            is_so(status == StatusCode::OK, &report["checks"])
        })
        .await;
    }

    pub(crate) async fn is_ready(&self) -> bool {
        match self.ask_admin("/health/ready").await.0 {
            StatusCode::OK => true,
            StatusCode::SERVICE_UNAVAILABLE => false,
            status => panic!("{status}"),
        }
    }

    pub(crate) fn process(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.process(), signal).unwrap();
    }

    /// Tells it to end, which it must do in good order.
    pub(crate) fn leave(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().code(), Some(0), "{}", self.log());
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.log()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The way there for clients that trust its development certificate.
    pub(crate) fn reach(&self) -> Arc<remote::Relay> {
        let address = format!("localhost:{}", self.public.port());
        let certificate = self.home.certificate();
        Arc::new(remote::Relay::new(&address, SERVICE_DID, &certificate).unwrap())
    }

    /// What its operator is told of its health.
    pub(crate) async fn health(&self) -> (StatusCode, Value) {
        let (status, report) = self.ask_admin("/health").await;
        (status, serde_json::from_str(&report).unwrap())
    }

    /// A GET on the admin listener: the status and the body.
    pub(crate) async fn ask_admin(&self, path: &str) -> (StatusCode, String) {
        let (status, body) = ask::admin(self.admin, path).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// What a metric stands at, by its name and all its labels. None until it is there.
    pub(crate) async fn figure(&self, metric: &str) -> Option<u64> {
        ask::figure(self.admin, metric).await.unwrap()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls until `is_so`, for at most a while.
pub(crate) async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

pub(crate) fn is_alive(process: Pid) -> bool {
    test_kill_process(process).is_ok()
}

/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

//! Pebble, the ACME server that Let's Encrypt tests clients with, and a name server that
//! leads every name to this machine. Both end with the test.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mls_relay_loadtest::ask;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::relay::free_address;
use crate::tls::Client;

/// Where an ACME directory is, running or not. It validates at one port of this machine.
pub(crate) struct Pebble {
    dir: TempDir,
    authority: Authority,
    listen: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    processes: Vec<Child>,
    /// Its ports while it is away, lest somebody else is given one.
    held: Vec<Socket>,
}

impl Pebble {
    /// Starts one that asks at `validated`, and issues certificates for so long.
    pub(crate) async fn start(validated: SocketAddr, life: Duration) -> Self {
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
        let (listen, management) = (free_address(), free_address());
        let (chain, key) = authority.issue(&["localhost"]);
        let path = |name: &str| dir.path().join(name);
        fs::write(path("cert.pem"), chain).unwrap();
        fs::write(path("key.pem"), key).unwrap();
        fs::write(path("authority.pem"), authority.pem()).unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": listen, "managementListenAddress": management,
            "certificate": path("cert.pem"), "privateKey": path("key.pem"),
            "httpPort": 1, "tlsPort": validated.port(),
            "certificateValidityPeriod": life.as_secs(),
        } });
        fs::write(path("pebble.json"), config.to_string()).unwrap();
        let mut pebble = Self {
            names: free_address(),
            dir,
            authority,
            listen,
            management,
            processes: Vec::new(),
            held: Vec::new(),
        };
        pebble.begin().await;
        pebble
    }

    pub(crate) async fn begin(&mut self) {
        self.held.clear();
        let names = self.names.to_string();
        let management = free_address().to_string();
        let mut arguments = vec![
            "-defaultIPv6",
            "",
            "-dns01",
            &names,
            "-management",
            &management,
        ];
        for other in ["-http01", "-https01", "-tlsalpn01"] {
            arguments.extend([other, ""]);
        }
        let names_process = self.spawn("pebble-challtestsrv", &arguments);
        let config = self.dir.path().join("pebble.json").display().to_string();
        let pebble = self.spawn("pebble", &["-config", &config, "-dnsserver", &names]);
        self.processes = vec![names_process, pebble];
        let deadline = Instant::now() + PATIENCE;
        // It opens one after the other.
        for door in [self.listen, self.management] {
            while tokio::net::TcpStream::connect(door).await.is_err() {
                assert!(Instant::now() < deadline, "{}", self.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        Command::new(program)
            .args(arguments)
            // It would wait up to 15 s before each validation.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs pebble"))
    }

    /// Ends it. It forgets everything: accounts, orders, its own root.
    pub(crate) fn end(&mut self) {
        for mut process in self.processes.drain(..) {
            let _ = process.kill();
            let _ = process.wait();
        }
        let ports = [self.listen, self.management, self.names];
        self.held = ports.into_iter().flat_map(bound).collect();
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.listen.port())
    }

    /// Whose certificate its own is of.
    pub(crate) fn authority_file(&self) -> String {
        let path: &Path = &self.dir.path().join("authority.pem");
        path.display().to_string()
    }

    /// A client that trusts what it issues, in this life of it.
    pub(crate) async fn customer(&self) -> Client {
        let client = Client::trusting(&self.authority.pem(), None);
        let stream = client.connect_to(self.management, "localhost").await;
        let (_, root) = ask::get(stream.unwrap(), "localhost", "/roots/0")
            .await
            .unwrap();
        Client::trusting(std::str::from_utf8(&root).unwrap(), None)
    }
}

/// Nobody's port any more, at which nobody answers.
fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.end();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

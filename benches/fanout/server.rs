//! A server that is measured: a process kept to one core, how one subscribes to it, and
//! how one publishes.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mls_relay_loadtest::load::{Usage, family};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};

use crate::stream::{Numbering, Packing};

/// The server's core, and that of everything else.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const OTHER_CORE: usize = 1;

/// A running server.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) packing: Packing,
    pub(crate) numbering: Numbering,
    /// How a member of a group subscribes.
    pub(crate) upgrade: Box<dyn Fn(usize, usize) -> Upgrade>,
    pub(crate) publisher: Publisher,
    pub(crate) pid: u32,
    /// What ends when the server is no longer wanted.
    pub(crate) _life: Box<dyn std::any::Any>,
}

/// One subscription's request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrade {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    /// What the client says first, where the upgrade does not say it all.
    pub(crate) greeting: Option<String>,
}

impl Server {
    pub(crate) fn upgrade(&self, group: usize, member: usize) -> Upgrade {
        (self.upgrade)(group, member)
    }

    /// CPU time and memory of the process and its children so far.
    pub(crate) fn usage(&self) -> Usage {
        let mut all = Usage::default();
        for pid in family(self.pid) {
            let usage = Usage::of(pid).unwrap_or_default();
            all.cpu += cpu(pid);
            all.resident_kib += usage.resident_kib;
        }
        all
    }
}

impl Upgrade {
    pub(crate) fn request(&self) -> String {
        let token = self.token.as_ref();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
        format!(
            "GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
            self.path,
            token.unwrap_or_default(),
        )
    }
}

/// Events on their way into a server.
pub(crate) struct Publisher(mpsc::Sender<(usize, usize)>);

/// What the publisher's workers take: group and number of an event.
pub(crate) type Posts = Arc<Mutex<mpsc::Receiver<(usize, usize)>>>;

impl Publisher {
    pub(crate) fn new() -> (Self, Posts) {
        let (posts, receiver) = mpsc::channel(POSTS_MAX);
        (Self(posts), Arc::new(Mutex::new(receiver)))
    }

    pub(crate) fn publish(&self, group: usize, number: usize) {
        self.0
            .try_send((group, number))
            .expect("somebody publishes, and not far behind");
    }
}

/// The next event to publish. `None`: it is over.
pub(crate) async fn next(posts: &Posts) -> Option<(usize, usize)> {
    posts.lock().await.recv().await
}

/// A process that is kept to the server's core and ends with this.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command, log: &Path) -> std::io::Result<Self> {
        let log = std::fs::File::create(log)?;
        let command = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // It inherits the core of this thread.
        keep_to(SERVER_CORE);
        let started = command.spawn();
        keep_to(OTHER_CORE);
        started.map(Self)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = kill_process(pid.expect("a child has a number"), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// Keeps this thread, and those that it starts, to a core.
pub(crate) fn keep_to(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).expect("a machine with two cores");
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) async fn connect_when_ready(port: u16) -> Result<TcpStream, String> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => return Ok(stream),
            Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(format!("it does not listen: {error}")),
        }
    }
}

/// What the threads of a process have run, to the nanosecond: the hundredths of a second
/// in `stat` are too coarse for a run of seconds.
fn cpu(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let threads = threads.into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// More than a run has, so that a server that takes none is late and not left out.
const POSTS_MAX: usize = 1 << 16;
const START_TIMEOUT: Duration = Duration::from_secs(10);

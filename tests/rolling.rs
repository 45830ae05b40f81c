//! A deploy at noon: two nodes behind HAProxy are replaced one after the other, with
//! sockets open and calls running, and nobody notices more than a reconnect. With OLD_RELAY, the
//! path of a relay of the version before, it is an upgrade: both begin as that one.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/chaos.rs"]
mod chaos;
#[path = "support/database.rs"]
mod database;
#[path = "support/front.rs"]
mod front;
#[path = "support/relay.rs"]
mod relay;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::iter::successors;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chaos::{Crowd, LIMITS, populate, send_message_input, stored_messages};
use database::Database;
use front::Front;
use mls_relay::runtime::raise_descriptor_limit;
use mls_relay::types::{CoarseTime, MessageId};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::relay as remote;
use mls_relay_loadtest::subscription::{Subscribe, Subscription};
use mls_relay_loadtest::xrpc_client::{CallError, HttpVersion, XrpcClient};
use parking_lot::Mutex;
use relay::{Home, SERVICE_DID, eventually, free_address};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::block_in_place;

const ACCOUNTS: usize = 200;
const SOCKETS: usize = 2000;
const CONVOS: usize = 50;
const CALLERS: usize = 4;
/// The drain's window here, in seconds; reconnects are counted second by second.
const WINDOW: usize = 10;
/// How many sockets connect at a time, which spares the machine at the start.
const ARRIVING: usize = 64;

/// What everyone in this test shares.
struct Stage {
    crowd: Crowd,
    entrance: Arc<remote::Relay>,
    running: AtomicBool,
    synced: AtomicUsize,
    doors: Semaphore,
    /// When sockets that had been sent away came back.
    returns: Mutex<Vec<Instant>>,
    /// What should not happen, in words.
    faults: Mutex<Vec<String>>,
    calls: AtomicUsize,
}

/// What one socket has seen, over all its connections.
#[derive(Default)]
struct History {
    last_seq: u64,
    seen: Vec<(String, String)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_behind_haproxy_are_replaced_and_nobody_loses_a_call_or_an_event() {
    let descriptors = raise_descriptor_limit();
    assert!(
        descriptors >= 8192,
        "the hard limit of open files is {descriptors}"
    );
    let database = Database::empty().await;
    let directory = Directory::start().await.unwrap();
    let crowd = Crowd::new(ACCOUNTS, CONVOS);
    for index in 0..ACCOUNTS {
        directory.publish(&crowd.account(index));
    }
    let certs = TempDir::new().unwrap();
    let made = mls_relay::tls::ensure_dev_certificate(certs.path(), SystemTime::now()).unwrap();
    let addresses = [free_address(), free_address()];
    let homes = addresses.map(|address| home(address, &database, &directory, &certs));
    // Both find an empty database, and take turns to fill it.
    let starts = homes.clone().map(|home| {
        let home = match std::env::var_os("OLD_RELAY") {
            Some(binary) => home.of(binary.into()),
            None => home,
        };
        std::thread::spawn(move || home.start())
    });
    let mut nodes = starts.map(|start| start.join().unwrap());
    populate(&database, &crowd).await;
    let balancer = Balancer::start(addresses);
    let entrance = format!("localhost:{}", balancer.front.address.port());
    let stage = Arc::new(Stage {
        crowd,
        entrance: Arc::new(remote::Relay::new(&entrance, SERVICE_DID, &made.cert).unwrap()),
        running: AtomicBool::new(true),
        synced: AtomicUsize::new(0),
        doors: Semaphore::new(ARRIVING),
        returns: Mutex::default(),
        faults: Mutex::default(),
        calls: AtomicUsize::new(0),
    });

    let histories: Vec<Arc<Mutex<History>>> = (0..SOCKETS).map(|_| Arc::default()).collect();
    for (index, history) in histories.iter().enumerate() {
        let (stage, history) = (Arc::clone(&stage), Arc::clone(history));
        tokio::spawn(async move { stage.listen(index, &history).await });
    }
    eventually("every socket is live", || async {
        stage.synced.load(Ordering::Relaxed) == SOCKETS
    })
    .await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|index| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move { stage.call(index).await })
        })
        .collect();

    for (index, node) in nodes.iter_mut().enumerate() {
        let asked_before = directory.requests();
        let begun = Instant::now();
        node.signal(Signal::TERM);
        let status = block_in_place(|| node.ended());
        assert_eq!(status.code(), Some(0), "{}", node.log());
        let took = begun.elapsed();
        let returns = std::mem::take(&mut *stage.returns.lock());
        let (peak, mean) = rates(&returns, begun);
        println!(
            "node {index}: {} sockets came back, at most {peak} a second, {mean:.1} on \
             average: {:.2}; it ended after {took:.1?}; {} calls so far",
            returns.len(),
            peak / mean,
            stage.calls.load(Ordering::Relaxed),
        );
        assert!(returns.len() > SOCKETS / 3, "the balancer does not balance");
        assert!(
            peak <= 1.3 * mean,
            "they came back in a heap: {peak} against {mean}"
        );
        // Tickets ask nobody who somebody is.
        let asked = directory.requests() - asked_before;
        assert!(asked <= CALLERS, "{asked} lookups");
        *node = block_in_place(|| homes[index].start());
        eventually("the balancer has it back", || async {
            balancer.is_up(index)
        })
        .await;
    }

    stage.running.store(false, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    let stored = stored_messages(&database).await;
    let made = stage.calls.load(Ordering::Relaxed);
    assert!(made > 200, "only {made} calls were made");
    for (index, history) in histories.iter().enumerate() {
        let mine = stage.crowd.convos_of(index % ACCOUNTS);
        let expected: BTreeSet<_> = stored
            .iter()
            .filter(|(convo, _)| mine.contains(convo))
            .collect();
        eventually("every event has come", || async {
            history.lock().seen.len() >= expected.len()
        })
        .await;
        let history = history.lock();
        assert_eq!(history.seen.len(), expected.len(), "an event came twice");
        assert_eq!(history.seen.iter().collect::<BTreeSet<_>>(), expected);
    }
    let faults = stage.faults.lock();
    assert!(
        faults.is_empty(),
        "{} faults: {:#?}",
        faults.len(),
        faults.first()
    );
    println!(
        "{made} calls, {} messages, to {SOCKETS} sockets",
        stored.len()
    );
}

fn home(address: SocketAddr, database: &Database, directory: &Directory, certs: &TempDir) -> Home {
    let cert = certs.path().join("localhost.pem").display().to_string();
    let key = certs.path().join("localhost-key.pem").display().to_string();
    Home::on(&database.url())
        .knowing(directory)
        .with("RELAY_LISTEN", &address.to_string())
        .with("TLS_CERT", &cert)
        .with("TLS_KEY", &key)
        .with("PROXY_PROTOCOL", "true")
        .with("TRUSTED_PROXIES", "127.0.0.1/32")
        .with("DRAIN_WINDOW_SECONDS", &WINDOW.to_string())
        .with("RUST_LOG", "warn")
        .with("SOCKETS_PER_DID", "10000")
        .with_all(LIMITS.map(|limit| (limit, "10000")))
}

/// The most that came back within a second of the window, and the mean of its seconds.
fn rates(returns: &[Instant], begun: Instant) -> (f64, f64) {
    let mut seconds = [0_u32; WINDOW];
    for moment in returns {
        let second = usize::try_from((*moment - begun).as_secs()).unwrap();
        // One that is a moment late by a busy machine belongs to the last second.
        seconds[second.min(WINDOW - 1)] += 1;
    }
    let peak = seconds.iter().max().copied().unwrap();
    (f64::from(peak), returns.len() as f64 / WINDOW as f64)
}

/// HAProxy with the shipped file, and two relays in it.
struct Balancer {
    front: Front,
    dir: TempDir,
}

impl Balancer {
    fn start(relays: [SocketAddr; 2]) -> Self {
        let dir = TempDir::new().unwrap();
        let address = free_address();
        let socket = dir.path().join("stats").display().to_string();
        let line = "server relay1 127.0.0.1:8443";
        let shipped = include_str!("../deploy/haproxy.cfg");
        assert!(shipped.contains(line));
        let servers = [
            format!("server relay1 {}", relays[0]),
            format!("server relay2 {}", relays[1]),
        ];
        let config = shipped
            .replace("bind :::443 v4v6", &format!("bind {address}"))
            .replace(line, &servers.join("\n    "))
            .replace(
                "maxconn 100000",
                &format!("maxconn 3000\n    stats socket {socket} level user"),
            );
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, config).unwrap();
        let arguments = ["-db", "-f", path.to_str().unwrap()];
        let front = Front::start(dir.path(), "haproxy", &arguments, address);
        Self { front, dir }
    }

    /// Whether the relay gets new connections.
    fn is_up(&self, index: usize) -> bool {
        let mut socket = UnixStream::connect(self.dir.path().join("stats")).unwrap();
        socket.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        socket.read_to_string(&mut table).unwrap();
        let row = format!("relays,relay{},", index + 1);
        let row = table.lines().find(|line| line.starts_with(&row)).unwrap();
        row.split(',').any(|cell| cell == "UP")
    }
}

impl Stage {
    fn fault(&self, what: String) {
        self.faults.lock().push(what);
    }

    /// One phone: listens, and when it is sent away comes back when and how it was told.
    async fn listen(&self, index: usize, history: &Mutex<History>) {
        let account = self.crowd.account(index % ACCOUNTS);
        let mut wanted = Subscribe::to_all(Framing::DagCbor);
        wanted.cursor = Some("0".to_owned());
        let mut ticket: Option<String> = None;
        loop {
            let arriving = self.doors.acquire().await.unwrap();
            let opened = match &ticket {
                Some(ticket) => Subscription::resume(&self.entrance, ticket, wanted.clone()).await,
                None => Subscription::open(&self.entrance, &account, wanted.clone()).await,
            };
            drop(arriving);
            let mut socket = match opened {
                Ok(socket) => socket,
                Err(error) => {
                    self.fault(format!("a socket did not open: {error}"));
                    return;
                }
            };
            let mut farewell = None;
            loop {
                match socket.next().await {
                    Ok(Some(event)) if event.is_draining() => {
                        ticket = event.body.resume_ticket.clone();
                        farewell = event.body.reconnect_after_ms;
                    }
                    Ok(Some(event)) => {
                        if event.is_synced() && ticket.is_none() {
                            self.synced.fetch_add(1, Ordering::Relaxed);
                        }
                        if event.is_message() {
                            self.note(
                                history,
                                event.body.seq,
                                event.body.convo_id,
                                event.body.message_id,
                            );
                        }
                    }
                    Ok(None) => break,
                    Err(error) => {
                        self.fault(format!("a socket broke: {error}"));
                        return;
                    }
                }
            }
            let Some(millis) = farewell else {
                if self.running.load(Ordering::Relaxed) {
                    self.fault("a socket was closed without a word".to_owned());
                }
                return;
            };
            wanted.cursor = socket.cursor().map(str::to_owned);
            tokio::time::sleep(Duration::from_millis(millis)).await;
            self.returns.lock().push(Instant::now());
        }
    }

    fn note(
        &self,
        history: &Mutex<History>,
        seq: Option<u64>,
        convo: Option<String>,
        message: Option<String>,
    ) {
        let mut history = history.lock();
        if seq.unwrap() <= history.last_seq {
            self.fault("an event came out of order".to_owned());
        }
        history.last_seq = seq.unwrap();
        history.seen.push((convo.unwrap(), message.unwrap()));
    }

    /// One account that sends and reads on a connection that is kept alive.
    async fn call(&self, index: usize) {
        let version = match index.is_multiple_of(2) {
            true => HttpVersion::One,
            false => HttpVersion::Two,
        };
        let client = XrpcClient::new(
            Arc::clone(&self.entrance),
            self.crowd.account(index),
            version,
        );
        let convos = self.crowd.convos_of(index);
        for convo in convos.iter().cycle() {
            if !self.running.load(Ordering::Relaxed) {
                return;
            }
            let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
            let input = send_message_input(convo, id.expose());
            let sent = client.procedure("sendMessage", &input).await;
            self.count(version, sent);
            let read = client.query("getMessages", &[("convoId", convo)]).await;
            self.count(version, read);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn count(&self, version: HttpVersion, outcome: Result<serde_json::Value, CallError>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = outcome {
            let causes = successors(Some(&error as &dyn Error), |&cause| cause.source());
            let causes: Vec<_> = causes.map(ToString::to_string).collect();
            self.fault(format!("a call over {version:?} failed: {causes:?}"));
        }
    }
}

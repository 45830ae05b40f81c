//! The way down: who is told what, what it is worth elsewhere, and how the process ends.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::{Event, Framing};
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::subscription::{Subscribe, Subscription, SubscriptionError};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::database::Database;
use crate::relay::{Home, Relay, eventually, path, token};
use crate::tls::{Client, read_to_end};
use crate::websocket::{opened, upgrade};

const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    database: Database,
    directory: Directory,
    account: Account,
}

impl World {
    async fn new() -> Self {
        let directory = Directory::start().await.unwrap();
        let account = directory.account(Curve::P256).unwrap();
        Self {
            database: Database::start().await,
            directory,
            account,
        }
    }

    fn node(&self, window: &str) -> Relay {
        self.home(window).start()
    }

    fn home(&self, window: &str) -> Home {
        Home::on(&self.database.url())
            .knowing(&self.directory)
            .with("DRAIN_WINDOW_SECONDS", window)
    }

    /// A live stream of the account.
    async fn listen(&self, relay: &Relay) -> Subscription {
        let opened = Subscription::open(&relay.reach(), &self.account, everything()).await;
        synced(opened.unwrap()).await
    }
}

fn everything() -> Subscribe {
    Subscribe::to_all(Framing::Json)
}

async fn next(socket: &mut Subscription) -> Option<Event> {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap()
}

async fn synced(mut socket: Subscription) -> Subscription {
    while !next(&mut socket).await.unwrap().is_synced() {}
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_strangers_have_spent_the_window_a_ticket_lets_in_whom_a_token_would() {
    let world = World::new().await;
    let mut here = world.node("1");
    let there = world.home("1").with("RATE_LIMIT_IP_PER_MINUTE", "1");
    let there = there.with("IP_RATE_BURST", "0").start();
    let mut socket = world.listen(&here).await;
    drop(world.listen(&there).await);
    let resume = async |ticket| Subscription::resume(&there.reach(), ticket, everything()).await;
    let refusal = async |ticket| match resume(ticket).await.unwrap_err() {
        SubscriptionError::Refused(status) => status,
        other => panic!("{other}"),
    };
    while refusal("of nobody").await != StatusCode::TOO_MANY_REQUESTS {}
    here.signal(Signal::TERM);
    let info = next(&mut socket).await.unwrap();
    let ticket = info.body.resume_ticket.unwrap();
    synced(resume(&ticket).await.unwrap()).await;
    assert_eq!(here.ended().code(), Some(0), "{}", here.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_socket_is_let_in_elsewhere_by_its_ticket_alone_and_once() {
    let world = World::new().await;
    let (mut here, there) = (world.node("1"), world.node("1"));
    let mut socket = world.listen(&here).await;
    here.signal(Signal::TERM);
    let info = next(&mut socket).await.unwrap();
    assert!(info.is_draining(), "{info:?}");
    assert!(info.body.reconnect_after_ms.unwrap() <= 1000);
    assert!(next(&mut socket).await.is_none(), "then it closes");
    assert_eq!(here.ended().code(), Some(0), "{}", here.log());

    let asked = world.directory.requests();
    let ticket = info.body.resume_ticket.unwrap();
    let resume = || async { Subscription::resume(&there.reach(), &ticket, everything()).await };
    let resumed = synced(resume().await.unwrap()).await;
    assert_eq!(world.directory.requests(), asked, "nobody asked who it is");
    let again = resume().await.unwrap_err();
    assert!(
        matches!(again, SubscriptionError::Refused(StatusCode::UNAUTHORIZED)),
        "{again:?}"
    );
    drop(resumed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_had_connected_before_a_drain_is_let_in_and_told_where_to_go() {
    let world = World::new().await;
    let (mut here, there) = (world.node("20"), world.node("1"));
    let connect = async || here.reach().connect(&[b"http/1.1"]).await.unwrap();
    let (mut socket, mut stream) = (connect().await, connect().await);
    let other = world.listen(&here).await;
    here.signal(Signal::TERM);
    eventually("it drains", || async {
        here.health().await.1["draining"] == true
    })
    .await;
    let ask = |call| upgrade(&path(call), &token(&world.account, call), "");
    opened(&mut socket, &ask("subscribeConvoEvents")).await;
    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
    let said = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
    let said: Value = serde_json::from_str(said.unwrap().to_text().unwrap()).unwrap();
    assert_eq!(said["body"]["name"], "Draining", "{said}");
    let closed = timeout(PATIENCE, socket.next()).await.unwrap().unwrap();
    let Message::Close(Some(reason)) = closed.unwrap() else {
        panic!("it does not close");
    };
    assert_eq!(u16::from(reason.code), 1012);
    let request = ask("streamConvoEvents");
    stream.write_all(request.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(
        answer.contains("retry: ") && answer.contains("Draining"),
        "{answer}"
    );
    let ticket = said["body"]["resumeTicket"].as_str().unwrap();
    let resumed = Subscription::resume(&there.reach(), ticket, everything()).await;
    synced(resumed.unwrap()).await;
    drop(other);
    assert_eq!(here.ended().code(), Some(0), "{}", here.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draining_node_says_why_it_is_not_ready_and_a_second_sigterm_ends_it() {
    let world = World::new().await;
    let mut node = world.node("20");
    let _socket = world.listen(&node).await;
    let begun = Instant::now();
    node.signal(Signal::TERM);
    eventually("not ready", || async {
        node.ask_admin("/health/ready").await.0 == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let (status, report) = node.health().await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(report["checks"]["drain"]["ok"], false);
    assert!(report["checks"]["drain"]["cause"].is_string());
    assert_eq!(report["checks"]["database"]["ok"], true);
    assert_eq!(node.ask_admin("/health/live").await.0, StatusCode::OK);
    // A reload does not disturb it.
    node.signal(Signal::HUP);
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(1), "{}", node.log());
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "it did not wait for the window"
    );
    assert!(node.log().contains("told to stop twice"), "{}", node.log());
    assert!(!node.log().contains("ERROR"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_notice_it_says_that_it_leaves_and_works_on_until_then() {
    let world = World::new().await;
    let mut node = world
        .home("0")
        .with("RELAY_DRAIN_NOTICE_SECONDS", "5")
        .start();
    let begun = Instant::now();
    node.signal(Signal::TERM);
    eventually("not ready", || async {
        node.ask_admin("/health/ready").await.0 == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    // A balancer that has not noticed yet sends somebody.
    let mut stream = Client::http1(&node).connect(&node).await.unwrap();
    let request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    for header in ["\r\nretry-after: 5\r\n", "\r\nconnection: close\r\n"] {
        assert!(answer.contains(header), "{answer}");
    }
    let mut socket = world.listen(&node).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "too late to tell");
    assert!(next(&mut socket).await.unwrap().is_draining());
    assert!(begun.elapsed() >= Duration::from_secs(5));
    assert!(next(&mut socket).await.is_none());
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_gone_without_a_word_keep_no_node_from_ending() {
    let world = World::new().await;
    let mut node = world.home("1").with("RELAY_DRAIN_SECONDS", "50").start();
    // Each says how it wants to speak, and no more.
    let mut silent = Vec::new();
    for (protocol, begun) in [
        (b"http/1.1".as_slice(), "GET / HTTP/1.1\r\nhost:"),
        (b"h2", "PRI * HTTP/2.0"),
        (
            b"h2",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        ),
    ] {
        let mut stream = node.reach().connect(&[protocol]).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        silent.push(stream);
    }
    // Nor has everybody shaken hands who has connected: scanners say nothing at all.
    let mut mute = Vec::new();
    for begun in [&b""[..], b"\x16\x03\x01\x02\0\x01"] {
        let mut stream = TcpStream::connect(node.public).await.unwrap();
        stream.write_all(begun).await.unwrap();
        mute.push(stream);
    }
    let begun = Instant::now();
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_still_makes_no_drain_last_to_its_end() {
    let world = World::new().await;
    let mut node = world.home("1").with("RELAY_DRAIN_SECONDS", "20").start();
    // A body that does not come on.
    let call = "registerDevice";
    let (path, token) = (path(call), token(&world.account, call));
    let mut sending = node.reach().connect(&[b"http/1.1"]).await.unwrap();
    let begun = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    sending.write_all(begun.as_bytes()).await.unwrap();
    // An answer that is not taken.
    let taking = TokioIo::new(node.reach().connect(&[b"h2"]).await.unwrap());
    let mut handshake = http2::Builder::new(TokioExecutor::new());
    handshake.initial_stream_window_size(1);
    let (mut sender, connection) = handshake.handshake(taking).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/.well-known/did.json");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let _answer = sender.send_request(request).await.unwrap();
    let begun = Instant::now();
    node.signal(Signal::TERM);
    let answer = read_to_end(&mut sending).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_ready_yet_leaves_as_any_other() {
    let world = World::new().await;
    let home = world.home("0").with("RELAY_DRAIN_NOTICE_SECONDS", "60");
    let holder = world.database.client().await;
    let hold = "BEGIN; LOCK TABLE event_stream IN ACCESS EXCLUSIVE MODE";
    holder.batch_execute(hold).await.unwrap();
    // It serves, and does not know the stream.
    let node = home.start_unready().await;
    node.signal(Signal::TERM);
    eventually("it leaves", async || {
        node.health().await.1["checks"]["drain"]["ok"] == false
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigint_waits_for_nobody() {
    let world = World::new().await;
    let mut node = world.node("20");
    let _socket = world.listen(&node).await;
    let begun = Instant::now();
    node.signal(Signal::INT);
    assert_eq!(node.ended().code(), Some(0), "{}", node.log());
    assert!(begun.elapsed() < Duration::from_secs(15));
    // Who was told to stop is not at fault.
    assert!(!node.log().contains("ERROR"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_under_way_goes_by_what_the_file_says_now() {
    let world = World::new().await;
    let home = world.home("0").with("CLOSE_TIMEOUT_MS", "30000");
    let write = |notice: u32, grace: u32| {
        let text = format!("[process]\ndrain_notice_seconds = {notice}\ndrain_seconds = {grace}\n");
        std::fs::write(home.path().join("relay.toml"), text).unwrap();
    };
    write(600, 600);
    let mut node = home.start();
    // It never reads, and so never answers the close.
    let _socket = world.listen(&node).await;
    node.signal(Signal::TERM);
    eventually("not ready", || async {
        node.ask_admin("/health/ready").await.0 == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    write(0, 1);
    node.signal(Signal::HUP);
    assert_eq!(node.ended().code(), Some(1), "{}", node.log());
    assert!(node.log().contains("too short for some"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grace_that_is_too_short_shows_in_the_exit_code() {
    let world = World::new().await;
    let mut node = world
        .home("1")
        .with("RELAY_DRAIN_SECONDS", "1")
        .with("CLOSE_TIMEOUT_MS", "30000")
        .start();
    // It never reads, and so never answers the close.
    let _socket = world.listen(&node).await;
    node.signal(Signal::TERM);
    assert_eq!(node.ended().code(), Some(1), "{}", node.log());
    assert!(node.log().contains("too short for some"), "{}", node.log());
}

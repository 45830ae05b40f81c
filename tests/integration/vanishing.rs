//! Clients that go away at any moment, by any protocol, while Postgres is cut off and settings
//! change: whatever was counted for them is given back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::pending;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::relay as remote;
use mls_relay_loadtest::subscription::{Subscribe, Subscription};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::database::Database;
use crate::relay::{Home, Relay, eventually, path, token};
use crate::websocket::extended_connect;

/// What a crowd at one address must have more of.
const LIMITS: [&str; 8] = [
    "CONNECTIONS_PER_IP_PER_SECOND",
    "RATE_LIMIT_DID_DEFAULT",
    "RATE_LIMIT_IP_PER_MINUTE",
    "SOCKETS_PER_DID",
    "UPGRADES_PER_DID",
    "UPGRADES_PER_IP",
    "VERIFICATIONS_PER_MINUTE",
    "PENALTY_STRIKES",
];

/// What one client does, if it has the time.
#[derive(Clone, Copy, Debug)]
enum Doing {
    HalfAHello,
    HalfAHead,
    HalfABody,
    Call,
    CallOverHttp2,
    Socket,
    SocketOverHttp2,
    Stream,
    StreamOverHttp2,
}

const DOINGS: [Doing; 9] = [
    Doing::HalfAHello,
    Doing::HalfAHead,
    Doing::HalfABody,
    Doing::Call,
    Doing::CallOverHttp2,
    Doing::Socket,
    Doing::SocketOverHttp2,
    Doing::Stream,
    Doing::StreamOverHttp2,
];

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn act(doing: Doing, relay: Arc<remote::Relay>, account: Arc<Account>) -> Result<(), Fault> {
    match doing {
        Doing::HalfAHello => {
            let mut stream = relay.connect_tcp().await?;
            stream.write_all(&[0x16, 3, 1, 2]).await?;
            pending().await
        }
        Doing::HalfAHead => say(&relay, "GET /health HTTP/1.1\r\nho").await,
        Doing::HalfABody => {
            let (path, token) = (path("updateCursor"), token(&account, "updateCursor"));
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
                 content-type: application/json\r\ncontent-length: 1000\r\n\r\n{{"
            );
            say(&relay, &head).await
        }
        Doing::Call => get(&relay, &account, "getConvos").await,
        Doing::Stream => get(&relay, &account, "streamConvoEvents").await,
        Doing::CallOverHttp2 => get_over_http_2(&relay, &account, "getConvos").await,
        Doing::StreamOverHttp2 => get_over_http_2(&relay, &account, "streamConvoEvents").await,
        Doing::Socket => {
            let everything = Subscribe::to_all(Framing::Json);
            let mut socket = Subscription::open(&relay, &account, everything).await?;
            while socket.next().await?.is_some() {}
            Ok(())
        }
        Doing::SocketOverHttp2 => {
            let stream = relay.connect(&[b"h2"]).await?;
            let io = TokioIo::new(stream);
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            let talk = async move {
                let call = "subscribeConvoEvents";
                let uri = format!("https://localhost{}", path(call));
                // The relay's settings, which allow this, come first.
                sleep(Duration::from_millis(5)).await;
                let request = extended_connect(uri, &token(&account, call));
                let response = sender.send_request(request).await?;
                let mut socket = TokioIo::new(hyper::upgrade::on(response).await?);
                socket.read_to_end(&mut Vec::new()).await?;
                Ok(())
            };
            // Both go away together.
            tokio::select! {
                ended = connection => ended.map_err(Fault::from),
                ended = talk => ended,
            }
        }
    }
}

async fn say(relay: &remote::Relay, text: &str) -> Result<(), Fault> {
    let mut stream = relay.connect(&[b"http/1.1"]).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

async fn get(relay: &remote::Relay, account: &Account, call: &str) -> Result<(), Fault> {
    let (path, token) = (path(call), token(account, call));
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    say(relay, &head).await
}

async fn get_over_http_2(
    relay: &remote::Relay,
    account: &Account,
    call: &str,
) -> Result<(), Fault> {
    let stream = relay.connect(&[b"h2"]).await?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let uri = format!("https://localhost{}", path(call));
    let request = Request::get(uri)
        .header("authorization", format!("Bearer {}", token(account, call)))
        .body(Empty::<Bytes>::new())?;
    let talk = async move {
        let response = sender.send_request(request).await?;
        response.into_body().collect().await?;
        Ok(())
    };
    tokio::select! {
        ended = connection => ended.map_err(Fault::from),
        ended = talk => ended,
    }
}

/// Reloads and cut connections of Postgres, one after the other.
async fn torment(relay: &Relay, database: &Database) {
    let file = relay.home().path().join("relay.toml");
    for round in 0.. {
        sleep(Duration::from_millis(150)).await;
        let text = format!(
            "[session]\nping_seconds = {}\n[limits]\nverification_queue_total = {}\n",
            10 + round % 2,
            1000 + round % 2,
        );
        std::fs::write(&file, text).unwrap();
        relay.signal(Signal::HUP);
        if round % 3 == 0 {
            let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE application_name = 'mls-relay'";
            database.change(cut, &[]).await;
        }
    }
}

/// The gauges of what is open or held now.
async fn held(relay: &Relay) -> Vec<String> {
    let (_, metrics) = relay.ask_admin("/metrics").await;
    let is_gauge = |line: &&str| {
        [
            "relay_auth_lookups_running ",
            "relay_limits_bytes{",
            "relay_limits_open{",
            "relay_limits_waiting ",
            "relay_process_panics_total ",
            "relay_sessions_open ",
            "relay_store_connections ",
            "relay_store_connections_idle ",
        ]
        .iter()
        .any(|name| line.starts_with(name))
    };
    let lines = metrics.lines().filter(is_gauge);
    lines
        .filter(|line| !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect()
}

/// A relay and those who come to it.
struct World {
    database: Database,
    directory: Directory,
    accounts: Vec<Arc<Account>>,
}

impl World {
    async fn new() -> Self {
        let (database, directory) = (Database::start().await, Directory::start().await.unwrap());
        let account = |_| Arc::new(directory.account(Curve::P256).unwrap());
        let accounts = (0..8).map(account).collect();
        Self {
            database,
            directory,
            accounts,
        }
    }

    fn node(&self) -> (Relay, Arc<remote::Relay>) {
        let home = Home::on(&self.database.url())
            .knowing(&self.directory)
            .with("DRAIN_WINDOW_SECONDS", "1")
            .with_all(LIMITS.map(|limit| (limit, "10000")));
        std::fs::write(home.path().join("relay.toml"), "").unwrap();
        let node = home.start();
        let relay = node.reach();
        (node, relay)
    }

    /// Clients that come and vanish for this long.
    async fn crowd(&self, relay: &Arc<remote::Relay>, time: Duration) {
        let mut clients = JoinSet::new();
        let until = Instant::now() + time;
        for turn in 0.. {
            if Instant::now() > until {
                break;
            }
            let random = uuid::Uuid::new_v4().as_u64_pair().0;
            let account = Arc::clone(&self.accounts[turn % self.accounts.len()]);
            let act = act(DOINGS[turn % DOINGS.len()], Arc::clone(relay), account);
            let time = Duration::from_micros(random % 200_000);
            clients.spawn(timeout(time, act));
            while clients.len() > AT_ONCE {
                clients.join_next().await;
            }
        }
        clients.join_all().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_held_for_clients_that_vanish_is_given_back() {
    let world = World::new().await;
    let (mut node, relay) = world.node();
    tokio::select! {
        () = world.crowd(&relay, Duration::from_secs(5)) => {}
        () = torment(&node, &world.database) => {}
    }
    eventually("nothing is held", || async {
        let held = held(&node).await;
        let count = |name: &str| {
            held.iter()
                .find_map(|line| line.strip_prefix(name)?.parse().ok())
        };
        let of: [Option<u32>; 2] =
            ["relay_store_connections ", "relay_store_connections_idle "].map(count);
        let is_open = |line: &&String| !line.starts_with("relay_store");
        of[0] == of[1] && !held.iter().any(|line| is_open(&line))
    })
    .await;
    let account = Arc::clone(&world.accounts[0]);
    act(Doing::Call, relay, account).await.unwrap();
    node.leave();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_to_leave_in_the_middle_of_it_leaves_in_time() {
    let world = World::new().await;
    for turn in 0..3 {
        let (mut node, relay) = world.node();
        let told = async {
            sleep(Duration::from_millis(700 + 37 * turn)).await;
            node.signal(Signal::TERM);
        };
        let _ = tokio::join!(world.crowd(&relay, Duration::from_secs(2)), told);
        let begun = Instant::now();
        assert_eq!(node.ended().code(), Some(0), "{}", node.log());
        // Those who are gone without a word are given two seconds to say goodbye.
        assert!(begun.elapsed() < Duration::from_secs(8), "{}", node.log());
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

const AT_ONCE: usize = 24;

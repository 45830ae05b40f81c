//! No log line and no metric holds an identity, whatever is called, however it ends,
//! and however much is logged; and nobody speaks in the log but the relay itself, at
//! `trace` neither: what dependencies say, strangers have a word in.

mod calls;
mod frames;
mod sockets;
mod strangers;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mls_relay::types::{CoarseTime, MessageId};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve};
use mls_relay_loadtest::phone::Phone;
use mls_relay_loadtest::relay as remote;
use mls_relay_loadtest::xrpc_client::{HttpVersion, XrpcClient};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::appview::AppView;
use crate::database::Database;
use crate::relay::{Home, Relay, SERVICE_DID, free_address};
use crate::secrets::Secrets;

/// Stands wherever a stranger can put text of its own choice.
const MARK: &str = "planted0mark0of0a0stranger";
/// Whose word on clients is believed.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
/// Clients, as proxies name them.
const CLIENTS: [&str; 2] = ["203.0.113.77", "2001:db8:77:66::5"];
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay that logs all it can, what is around it, and what must not be found.
struct Stage {
    database: Database,
    directory: Directory,
    appview: AppView,
    process: Relay,
    relay: Arc<remote::Relay>,
    /// Where proxies speak plain HTTP, after a PROXY header.
    plain: SocketAddr,
    secrets: Secrets,
}

/// Two people with a conversation.
struct Cast {
    accounts: [Arc<Account>; 2],
    alice: Phone,
    bob: Phone,
    convo: String,
}

impl Stage {
    async fn start() -> Self {
        let database = Database::start().await;
        let directory = Directory::start().await.unwrap();
        let appview = AppView::start().await;
        let plain = free_address();
        let settings = [
            ("APPVIEW_URL", appview.url()),
            ("DATABASE_URL", database.url()),
            ("LOG_FORMAT", "json".to_owned()),
            ("PLAIN_PROXY_PROTOCOL", "true".to_owned()),
            ("RELAY_PLAIN_LISTEN", plain.to_string()),
            ("RUST_LOG", "trace".to_owned()),
            ("TRUSTED_PROXIES", PROXY.to_string() + "/32"),
        ];
        let limits = [
            "RATE_LIMIT_IP_PER_MINUTE",
            "RATE_LIMIT_DID_DEFAULT",
            "PENALTY_STRIKES",
            "VERIFICATIONS_PER_MINUTE",
            "CONNECTIONS_PER_IP_PER_SECOND",
            "SOCKETS_PER_DID",
            "UPGRADES_PER_DID",
        ];
        let home = Home::new().knowing(&directory).with_all(settings);
        let home = home.with_all(limits.map(|limit| (limit, "10000")));
        let process = home.start();
        let relay = process.reach();
        let mut secrets = Secrets::default();
        secrets.add("a planted text", MARK);
        for client in CLIENTS {
            secrets.add("an address", client);
        }
        secrets.add("a network", "2001:db8:77:66");
        Self {
            database,
            directory,
            appview,
            process,
            relay,
            plain,
            secrets,
        }
    }

    async fn person(&mut self, curve: Curve) -> (Arc<Account>, Phone) {
        let account = Arc::new(self.directory.account(curve).unwrap());
        self.secrets.add("an account", account.did());
        let client = XrpcClient::new(self.relay.clone(), account.clone(), HttpVersion::One);
        let phone = Phone::new(MARK, client).unwrap();
        let identity = phone.identity();
        self.secrets
            .add("a device", identity.split_once('#').unwrap().1);
        phone.register().await.unwrap();
        phone.publish_key_packages(2).await.unwrap();
        (account, phone)
    }

    async fn two_people_meet(&mut self) -> Cast {
        let (alices, mut alice) = self.person(Curve::P256).await;
        let (bobs, mut bob) = self.person(Curve::Secp256k1).await;
        let convo = alice.create_conversation(&[bob.did()]).await.unwrap();
        self.secrets.add("a conversation", &convo);
        bob.join(&convo).await.unwrap();
        Cast {
            accounts: [alices, bobs],
            alice,
            bob,
            convo,
        }
    }

    /// A message id that nobody may find.
    fn message_id(&mut self) -> String {
        let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
        self.secrets.add("a message", id.expose());
        id.expose().to_owned()
    }

    fn token(&mut self, account: &Account, call: &str) -> String {
        let token = account.service_token(SERVICE_DID, call, Duration::from_secs(60));
        let token = token.unwrap();
        self.secrets.add("a token", &token);
        token
    }

    /// One raw request to a relay's client side; the answer's bytes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = self.relay.connect(&[b"http/1.1"]).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A relay that refuses may close without a TLS goodbye.
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The operator asks.
    async fn admin(&self, method: &str, target: &str) -> String {
        let mut stream = TcpStream::connect(self.process.admin).await.unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn judge(mut self) {
        let metrics = self.admin("GET", "/metrics").await;
        // All is written when it has ended.
        self.process.signal(Signal::INT);
        self.process.ended();
        let log = self.process.log();
        let lines: Vec<_> = log.lines().filter(|line| line.starts_with('{')).collect();
        // An audit of nothing proves nothing: the outage at least must be in it.
        assert!(lines.len() > 5, "only {} lines were logged", lines.len());
        assert!(
            log.contains("Did~") && log.contains("ClientIp~"),
            "nobody can be followed through the log"
        );
        for line in &lines {
            let said: Value = serde_json::from_str(line).unwrap();
            let speaker = said["target"].as_str().unwrap();
            assert!(speaker.starts_with("mls_relay"), "{speaker} says {line}");
        }
        let found = self.secrets.found_in(&log);
        assert!(found.is_empty(), "the log holds {found:?}");
        assert!(metrics.contains("relay_auth_checks_total"));
        let found = self.secrets.found_in(&metrics);
        assert!(found.is_empty(), "metrics hold {found:?}");
        // The peer's address is in no line but the one that says where we listen.
        let addressed: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("127.0.0."))
            .collect();
        assert!(addressed.is_empty(), "an address is logged: {addressed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_line_and_no_metric_holds_an_identity() {
    let mut stage = Stage::start().await;
    stage.strangers_knock().await;
    let mut cast = stage.two_people_meet().await;
    stage.messages_are_followed(&mut cast).await;
    stage.something_passes(&mut cast).await;
    stage.events_are_streamed(&cast).await;
    stage.a_block_is_told(&cast).await;
    stage.sockets_are_used_and_misused(&cast).await;
    stage.calls_go_wrong(&cast).await;
    stage.postgres_is_away(&mut cast).await;
    stage.operators_act(&cast).await;
    stage.judge().await;
}

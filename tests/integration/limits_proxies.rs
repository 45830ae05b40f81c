//! The relay behind the proxies that operators use, with the configuration files that
//! `deploy/` ships: the true client is limited whatever it writes into headers, its
//! neighbours are not, and subscriptions pass.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::front::Front;
use crate::relay::{Home, Relay, free_address, path, token};
use crate::tls::{Client, Stream};
use crate::websocket::{opened, upgrade};

const SUBSCRIBE: &str = "subscribeConvoEvents";

/// The allowance of an address: `RATE_LIMIT_IP_PER_MINUTE` and `IP_RATE_BURST`.
const ALLOWED: usize = 66;

/// Over every deadline here, with room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn nginx_passes_the_true_client_and_subscriptions() {
    let stage = Stage::new().await;
    let relay = stage.behind_plain_http();
    let nginx = stage.nginx(&relay);
    stage.the_true_client_is_limited(nginx.address).await;
    stage.a_call_and_a_large_body_pass(nginx.address).await;
    stage.a_quiet_subscription_stays_open(nginx.address).await;
    // Who called when, and for which conversation, is written nowhere.
    let log = fs::read_to_string(stage.home.path().join("access.log"));
    assert_eq!(log.unwrap_or_default(), "");
    stage.direct_access_counts_by_socket(&relay).await;
}

#[tokio::test]
async fn caddy_passes_the_true_client_and_subscriptions() {
    let stage = Stage::new().await;
    let relay = stage.behind_plain_http();
    let caddy = stage.caddy(&relay);
    stage.the_true_client_is_limited(caddy.address).await;
    stage.a_call_and_a_large_body_pass(caddy.address).await;
    stage.a_quiet_subscription_stays_open(caddy.address).await;
}

/// What else would tell an operator of a TRUSTED_PROXIES that does not name the proxy?
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_told_at_warn_with_the_listener_and_no_address() {
    let home = Home::lived_in()
        .with("RUST_LOG", "warn")
        .with("TRUSTED_PROXIES", "192.0.2.0/24")
        .with("PROXY_PROTOCOL", "true");
    let relay = home.start();
    let mut stream = TcpStream::connect(relay.public).await.unwrap();
    let ended = timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    let line = relay.says("not of the networks in TRUSTED_PROXIES");
    assert!(
        line.contains("WARN") && line.contains("edge.listen"),
        "{line}"
    );
    assert!(!line.contains("127.0.0.1"), "{line}");
}

#[tokio::test]
async fn a_proxy_that_a_proxy_header_names_is_no_client_either() {
    let relay = Home::lived_in()
        .with("TRUSTED_PROXIES", "127.0.0.0/8, 192.0.2.0/24")
        .with("PROXY_PROTOCOL", "true")
        .with("CONNECTIONS_PER_IP", "1")
        .start();
    let client = Client::http1(&relay);
    let by = async |address: &str| {
        let mut stream = TcpStream::connect(relay.public).await.unwrap();
        let header = format!("PROXY TCP4 {address} 127.0.0.1 1 2\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        client.over(stream, "localhost").await
    };
    for (address, may_have_two) in [("192.0.2.1", true), ("203.0.113.1", false)] {
        let (one, other) = (by(address).await, by(address).await);
        assert!(one.is_ok());
        assert_eq!(other.is_ok(), may_have_two, "{address}");
    }
}

#[tokio::test]
async fn haproxy_passes_the_true_client_by_its_proxy_header() {
    let stage = Stage::new().await;
    let relay = stage.home.clone().with("PROXY_PROTOCOL", "true").start();
    let haproxy = stage.haproxy(&relay);
    stage.the_true_client_is_limited(haproxy.address).await;
    stage.a_call_and_a_large_body_pass(haproxy.address).await;
    stage.a_quiet_subscription_stays_open(haproxy.address).await;
    let refused = stage.connect(relay.public, client(9)).await;
    assert!(
        refused.is_err(),
        "strangers have no business behind a balancer"
    );
}

/// What each story needs: a directory, and a home for relay and proxy.
struct Stage {
    directory: Directory,
    home: Home,
    plain: SocketAddr,
}

impl Stage {
    async fn new() -> Self {
        let directory = Directory::start().await.unwrap();
        let home = Home::lived_in()
            .knowing(&directory)
            .with("TRUSTED_PROXIES", "127.0.0.1/32")
            .with("PING_SECONDS", "5");
        Self {
            directory,
            home,
            plain: free_address(),
        }
    }

    fn behind_plain_http(&self) -> Relay {
        let plain = self.plain.to_string();
        self.home.clone().with("RELAY_PLAIN_LISTEN", &plain).start()
    }

    fn nginx(&self, relay: &Relay) -> Front {
        let address = free_address();
        let (certificate, key) = certificate(relay);
        let site = include_str!("../../deploy/nginx.conf")
            .replace("[::]:443 ssl ipv6only=off", &format!("{address} ssl"))
            .replace("127.0.0.1:8080", &self.plain.to_string())
            .replace(
                "/etc/letsencrypt/live/relay.example.com/fullchain.pem",
                &certificate,
            )
            .replace("/etc/letsencrypt/live/relay.example.com/privkey.pem", &key);
        let dir = self.home.path().display();
        let config = format!(
            "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; user root;\n\
             events {{}}\n\
             http {{ access_log {dir}/access.log; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;\n\
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n{site}}}\n"
        );
        let path = self.write("nginx.conf", &config);
        Front::start(self.home.path(), "nginx", &["-c", &path], address)
    }

    fn caddy(&self, relay: &Relay) -> Front {
        let address = free_address();
        let (certificate, key) = certificate(relay);
        let site = include_str!("../../deploy/Caddyfile")
            .replace(
                "relay.example.com {",
                &format!(
                    "https://localhost:{} {{\n\ttls {certificate} {key}",
                    address.port()
                ),
            )
            .replace("127.0.0.1:8080", &self.plain.to_string());
        let config = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{site}");
        let path = self.write("Caddyfile", &config);
        Front::start(
            self.home.path(),
            "caddy",
            &["run", "--adapter", "caddyfile", "--config", &path],
            address,
        )
    }

    fn haproxy(&self, relay: &Relay) -> Front {
        let address = free_address();
        let config = include_str!("../../deploy/haproxy.cfg")
            .replace("bind :::443 v4v6", &format!("bind {address}"))
            .replace("127.0.0.1:8443", &relay.public.to_string())
            .replace("maxconn 100000", "maxconn 1000");
        let path = self.write("haproxy.cfg", &config);
        Front::start(self.home.path(), "haproxy", &["-db", "-f", &path], address)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Of seventy requests the allowance passes, however they are dressed up; the
    /// neighbour's pass all the same.
    async fn the_true_client_is_limited(&self, front: SocketAddr) {
        let statuses = self.statuses(front, client(2), 70).await;
        let passed = statuses
            .iter()
            .take_while(|status| **status == StatusCode::OK)
            .count();
        assert_eq!(passed, ALLOWED, "{statuses:?}");
        let refused = &statuses[ALLOWED..];
        let is_refused = |status: &StatusCode| *status == StatusCode::TOO_MANY_REQUESTS;
        assert!(refused.iter().all(is_refused));
        assert_eq!(self.statuses(front, client(3), 1).await, [StatusCode::OK]);
    }

    async fn direct_access_counts_by_socket(&self, relay: &Relay) {
        let statuses = self.statuses(relay.public, client(4), 70).await;
        let passed = statuses
            .iter()
            .filter(|status| **status == StatusCode::OK)
            .count();
        assert_eq!(passed, ALLOWED, "{statuses:?}");
    }

    /// The answers to this many requests, each in the name of somebody else.
    async fn statuses(&self, server: SocketAddr, from: Ipv4Addr, count: usize) -> Vec<StatusCode> {
        let stream = self.connect(server, from).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for nth in 0..count {
            let spoofed = format!("203.0.113.{nth}");
            let request = Request::get("/health/live")
                .header("host", "localhost")
                .header("x-forwarded-for", &spoofed)
                .header("forwarded", format!("for={spoofed}"))
                .header("x-real-ip", &spoofed)
                .header("cf-connecting-ip", &spoofed)
                .body(Empty::<Bytes>::new())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            statuses.push(response.status());
            if response.status() == StatusCode::TOO_MANY_REQUESTS {
                let wait: u64 = response.headers()["retry-after"]
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap();
                assert!((1..=61).contains(&wait), "{wait}");
            }
            response.into_body().collect().await.unwrap();
        }
        statuses
    }

    /// A call is answered, and a body of the size of the largest message is read by the
    /// relay and not refused on its way.
    async fn a_call_and_a_large_body_pass(&self, front: SocketAddr) {
        let account = self.directory.account(Curve::P256).unwrap();
        let stream = self.connect(front, client(6)).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        for (method, call, body, status, says) in [
            (
                "GET",
                "getConvos",
                Bytes::new(),
                StatusCode::OK,
                "conversations",
            ),
            (
                "POST",
                "sendMessage",
                Bytes::from(vec![b' '; 13 << 20]),
                StatusCode::BAD_REQUEST,
                "InvalidRequest",
            ),
        ] {
            let token = token(&account, call);
            let request = Request::builder()
                .method(method)
                .uri(path(call))
                .header("host", "localhost")
                .header("authorization", format!("Bearer {token}"))
                .header("content-type", "application/json")
                .body(Full::new(body))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let is = response.status();
            let text = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8(text.to_vec()).unwrap();
            assert_eq!(is, status, "{call}: {text}");
            assert!(text.contains(says), "{call}: {text}");
        }
    }

    /// A subscription upgrades through the proxy, and pings keep it open.
    async fn a_quiet_subscription_stays_open(&self, front: SocketAddr) {
        let account = self.directory.account(Curve::P256).unwrap();
        let token = token(&account, SUBSCRIBE);
        let mut stream = self.connect(front, client(5)).await.unwrap();
        let request = upgrade(&path(SUBSCRIBE), &token, "");
        opened(&mut stream, &request).await;
        let pings = timeout(PATIENCE, async {
            let mut pings = 0;
            while pings < 2 {
                let opcode = read_frame(&mut stream).await;
                pings += usize::from(opcode == PING);
                if opcode == PING {
                    // An empty pong, masked with zeros.
                    stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.unwrap();
                }
            }
            pings
        });
        assert_eq!(pings.await.unwrap(), 2);
    }

    async fn connect(&self, server: SocketAddr, from: Ipv4Addr) -> io::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(server).await?;
        let client = Client::new(&self.home.certificate(), rustls::ALL_VERSIONS, &[]);
        client.over(stream, "localhost").await
    }
}

/// One of many clients on this machine.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, number)
}

fn certificate(relay: &Relay) -> (String, String) {
    let certificate = relay.home().certificate();
    let key = certificate.with_file_name("localhost-key.pem");
    assert!(key.exists(), "{key:?}");
    (certificate.display().to_string(), key.display().to_string())
}

const PING: u8 = 9;

/// Reads one frame of a server; its opcode (RFC 6455 section 5.2).
async fn read_frame(stream: &mut Stream) -> u8 {
    let opcode = stream.read_u8().await.unwrap() & 0x0f;
    let len = match stream.read_u8().await.unwrap() {
        126 => u64::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap(),
        short => u64::from(short),
    };
    let mut payload = vec![0; usize::try_from(len).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    opcode
}

//! Settings change while the relay runs, for what is open too; a file that breaks a rule
//! changes nothing and is talked about.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::relay::{Home, Relay, eventually, path, token};
use crate::tls::{Client, Stream, read_to_end};
use crate::websocket::{opened, upgrade};

const SUBSCRIBE: &str = "subscribeConvoEvents";
const PATIENCE: Duration = Duration::from_secs(60);

/// A relay with this file.
fn start(text: &str) -> Relay {
    start_in(Home::lived_in(), text)
}

fn start_in(home: Home, text: &str) -> Relay {
    write(&home, text);
    home.start()
}

fn write(home: &Home, text: &str) {
    fs::write(home.path().join("relay.toml"), text).unwrap();
}

/// Replaces the file and waits until the relay has made something of it.
async fn change(relay: &Relay, text: &str, outcome: &str) {
    let before = reloads(relay, outcome).await;
    write(relay.home(), text);
    reloaded(relay, outcome, before).await;
}

async fn apply(relay: &Relay, text: &str) {
    change(relay, text, "applied").await;
}

async fn reloaded(relay: &Relay, outcome: &str, before: u64) {
    eventually(outcome, || async { reloads(relay, outcome).await > before }).await;
}

/// How many reloads ended so.
async fn reloads(relay: &Relay, outcome: &str) -> u64 {
    let name = format!("relay_config_reloads_total{{outcome=\"{outcome}\"}}");
    relay.figure(&name).await.unwrap_or(0)
}

/// What health says of the configuration.
async fn config_check(relay: &Relay) -> Value {
    let (status, report) = relay.health().await;
    assert_eq!(status, StatusCode::OK, "{report}");
    report["checks"]["config"].clone()
}

/// What health finds at fault with it, or waiting.
async fn cause(relay: &Relay) -> String {
    let check = config_check(relay).await;
    check["cause"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_open_connection_is_limited_believed_and_closed_by_a_changed_file() {
    let relay = start("[limits]\nip_per_minute = 60\n");
    let stream = Client::http1(&relay).connect(&relay).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut connection = tokio::spawn(connection);
    let mut ask = async || {
        let request = Request::get("/health/live")
            .header("host", "localhost")
            .header("x-forwarded-for", "203.0.113.9")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        response.into_body().collect().await.unwrap();
        status
    };
    let believed = "relay_edge_client_address_total{from=\"header\"}";
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(relay.figure(believed).await, None);

    apply(&relay, "[limits]\nip_per_minute = 1\nip_burst = 0\n").await;
    assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);

    let trusting = "[limits]\nip_per_minute = 1\nip_burst = 0\n\
                    [edge]\ntrusted_proxies = [\"127.0.0.1/32\"]\n";
    apply(&relay, trusting).await;
    assert_eq!(ask().await, StatusCode::OK, "another client by the header");
    assert_eq!(relay.figure(believed).await, Some(1));

    // It was to be idle for 75 s at most.
    let begun = Instant::now();
    apply(&relay, &format!("{trusting}idle_timeout_seconds = 1\n")).await;
    let closed = timeout(PATIENCE, &mut connection).await.unwrap();
    closed.unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(60));

    for said in [
        "a setting has changed key=\"limits.ip_per_minute\" value=\"1\"",
        "a setting has changed key=\"edge.idle_timeout_seconds\" value=\"1\"",
    ] {
        relay.says(said);
    }
}

#[tokio::test]
async fn an_open_socket_stays_open_and_goes_by_the_new_pings_and_budgets() {
    let directory = Directory::start().await.unwrap();
    let home = Home::lived_in().knowing(&directory);
    let relay = start_in(
        home,
        "[session]\nping_seconds = 1000\nsilence_seconds = 2000\n",
    );
    let mut socket = subscribe(&relay, &directory).await;
    let hasty = "[session]\nping_seconds = 5\n[limits]\nframes_per_minute = 2\n";
    apply(&relay, hasty).await;
    pinged(&mut socket).await;
    // The budget of the socket that was open before: the third frame of a minute.
    for _ in 0..3 {
        let frame = Message::text(r##"{"$type":"#ping"}"##);
        socket.send(frame).await.unwrap();
    }
    let mut pongs = 0;
    loop {
        let Message::Text(text) = next(&mut socket).await else {
            continue;
        };
        if text.contains("RateLimited") {
            break;
        }
        pongs += usize::from(text.contains("#pong"));
    }
    assert_eq!(pongs, 2);
    // And it is open still.
    pinged(&mut socket).await;
}

async fn subscribe(relay: &Relay, directory: &Directory) -> WebSocketStream<Stream> {
    let account = directory.account(Curve::P256).unwrap();
    let token = token(&account, SUBSCRIBE);
    let mut stream = Client::http1(relay).connect(relay).await.unwrap();
    let request = upgrade(&path(SUBSCRIBE), &token, "");
    opened(&mut stream, &request).await;
    WebSocketStream::from_raw_socket(stream, Role::Client, None).await
}

async fn pinged(socket: &mut WebSocketStream<Stream>) {
    while !matches!(next(socket).await, Message::Ping(_)) {}
}

async fn next(socket: &mut WebSocketStream<Stream>) -> Message {
    let message = timeout(PATIENCE, socket.next()).await;
    message.expect("something comes").unwrap().unwrap()
}

#[tokio::test]
async fn a_file_that_breaks_rules_changes_nothing_and_every_fault_shows() {
    let good = "[limits]\nip_per_minute = 1000\n";
    let relay = start(good);
    let bad = "[limits]\nip_per_minute = 1\nip_burst = -1\n[edge]\nlissten = 3\n";
    change(&relay, bad, "refused").await;
    assert_eq!(config_check(&relay).await["ok"], false);
    let told = cause(&relay).await;
    for fault in [
        "relay.toml:3: limits.ip_burst: not allowed; it takes a whole number from 0 to 65535",
        "relay.toml:5: edge.lissten: unknown key; did you mean edge.listen?",
    ] {
        assert!(told.contains(fault), "{fault} is not in {told}");
        relay.says(fault);
    }
    assert_eq!(relay.figure("relay_config_faults").await, Some(2));
    assert!(relay.is_ready().await);
    // The sound line of it did not apply either.
    for _ in 0..5 {
        let answer = Client::http1(&relay).get(&relay, "/health/live", "").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A file that is gone is no wish for the defaults.
    let refused = reloads(&relay, "refused").await;
    fs::remove_file(relay.home().path().join("relay.toml")).unwrap();
    reloaded(&relay, "refused", refused).await;
    let told = cause(&relay).await;
    assert!(told.contains("is gone"), "{told}");

    change(&relay, good, "unchanged").await;
    assert_eq!(config_check(&relay).await["ok"], true);
    assert_eq!(relay.figure("relay_config_faults").await, Some(0));
}

#[tokio::test]
async fn a_file_that_goes_while_the_relay_starts_is_missed() {
    let relay = start("[limits]\nip_per_minute = 1000\n");
    fs::remove_file(relay.home().path().join("relay.toml")).unwrap();
    eventually("it is missed", || async {
        config_check(&relay).await["ok"] == false
    })
    .await;
    assert!(cause(&relay).await.contains("is gone"));
}

#[tokio::test]
async fn that_there_are_too_few_files_is_said_again_only_of_another_number_of_connections() {
    let relay = start("");
    let few = Some(10_000);
    let files = Rlimit {
        current: few,
        maximum: few,
    };
    prlimit(Some(relay.process()), Resource::Nofile, files).unwrap();
    let told = || relay.log().matches("open-files limit").count();
    let before = told();
    let other = "[limits]\nip_per_minute = 70\n";
    let more = |total: u32| format!("{other}connections_total = {total}\n");
    for (text, changed, again) in [
        (other.to_owned(), "ip_per_minute\" value=\"70\"", 0),
        (more(40_000), "connections_total\" value=\"40000\"", 1),
        (more(1000), "connections_total\" value=\"1000\"", 1),
    ] {
        apply(&relay, &text).await;
        // The last that is said of it.
        relay.says(changed);
        assert_eq!(told(), before + again);
    }
}

#[tokio::test]
async fn renamed_files_swapped_links_and_sighup_are_all_followed() {
    let home = Home::lived_in();
    let path = |name: &str| home.path().join(name);
    // As Kubernetes mounts a ConfigMap.
    for (dir, minute) in [("one", 100), ("two", 200)] {
        fs::create_dir(path(dir)).unwrap();
        let text = format!("[limits]\nip_per_minute = {minute}\n");
        fs::write(path(dir).join("relay.toml"), text).unwrap();
    }
    symlink("one", path("..data")).unwrap();
    symlink("..data/relay.toml", path("relay.toml")).unwrap();
    let relay = home.start();
    let applied = || reloads(&relay, "applied");
    assert_eq!(applied().await, 0);

    symlink("two", path("..data_tmp")).unwrap();
    fs::rename(path("..data_tmp"), path("..data")).unwrap();
    reloaded(&relay, "applied", 0).await;
    relay.says("key=\"limits.ip_per_minute\" value=\"200\"");

    fs::write(path("new"), "[limits]\nip_per_minute = 300\n").unwrap();
    fs::rename(path("new"), path("relay.toml")).unwrap();
    reloaded(&relay, "applied", 1).await;
    relay.says("key=\"limits.ip_per_minute\" value=\"300\"");

    // Asked to, it reads the file although it is the same.
    let unchanged = reloads(&relay, "unchanged").await;
    relay.signal(Signal::HUP);
    reloaded(&relay, "unchanged", unchanged).await;
    assert_eq!(applied().await, 2);
    assert!(relay.is_ready().await);
}

#[tokio::test]
async fn what_needs_a_restart_is_listed_and_secrets_are_not_shown() {
    let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let relay = start("");
    let text = format!(
        "[auth]\nticket_secret = \"{secret}\"\n[database]\ncommitters = 3\n[retention]\nmessage_ttl_days = 9\n"
    );
    apply(&relay, &text).await;
    for said in [
        "a setting has changed key=\"retention.message_ttl_days\" value=\"9\"",
        "a setting waits for a restart key=\"database.committers\" value=\"3\"",
        "a setting waits for a restart key=\"auth.ticket_secret\" value=\"\\\"***\\\"\"",
    ] {
        relay.says(said);
    }
    assert_eq!(config_check(&relay).await["ok"], true);
    let told = cause(&relay).await;
    let waiting = "auth.ticket_secret, database.committers";
    assert!(told.ends_with(waiting), "{told}");
    assert_eq!(relay.figure("relay_config_waiting").await, Some(2));
    let (_, report) = relay.ask_admin("/health").await;
    assert!(!relay.log().contains(secret) && !report.contains(secret));
    change(&relay, "[retention]\nmessage_ttl_days = 9\n", "unchanged").await;
    assert_eq!(config_check(&relay).await.get("cause"), None);
}

#[tokio::test]
async fn the_log_goes_by_its_new_filter() {
    let relay = start_in(
        Home::lived_in().with("RUST_LOG", ""),
        "[log]\nfilter = \"error\"\n",
    );
    apply(
        &relay,
        "[log]\nfilter = \"error\"\n[limits]\nip_burst = 1\n",
    )
    .await;
    apply(&relay, "[log]\nfilter = \"warn\"\n[limits]\nip_burst = 2\n").await;
    let first = relay.says("limits.ip_burst");
    assert!(first.contains("value=\"2\""), "{first}");
}

/// A client that trusts this certificate alone.
fn trusting(certificate: &Path) -> Client {
    Client::new(certificate, rustls::ALL_VERSIONS, &["http/1.1"])
}

#[tokio::test]
async fn certificates_follow_their_paths_for_connections_to_come() {
    let relay = start("");
    let dir = relay.home().path().join("certs");
    let other = tempfile::tempdir().unwrap();
    let made = mls_relay::tls::ensure_dev_certificate(other.path(), std::time::SystemTime::now());
    let made = made.unwrap();
    let text = |key: &Path| {
        format!(
            "[edge]\ntls_cert = \"{}\"\ntls_key = \"{}\"\n",
            made.cert.display(),
            key.display()
        )
    };
    let first = trusting(&dir.join("localhost.pem"));
    let mut open = first.connect(&relay).await.unwrap();
    // A key of another certificate is refused with the whole file.
    change(&relay, &text(&dir.join("localhost-key.pem")), "refused").await;
    let told = cause(&relay).await;
    let place = "relay.toml:2: edge.tls_cert: ";
    assert!(told.starts_with(place), "{told}");
    assert!(told.contains("does not match"), "{told}");
    // Every cause is told, not the first one alone.
    let broken = dir.join("broken.pem");
    let pem = "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n";
    fs::write(&broken, pem).unwrap();
    change(&relay, &text(&broken), "refused").await;
    let told = cause(&relay).await;
    assert!(told.contains("it is not PEM: "), "{told}");

    apply(&relay, &text(&made.key)).await;
    assert!(trusting(&made.cert).connect(&relay).await.is_ok());
    assert!(first.connect(&relay).await.is_err());
    // The connection that was open is served still.
    let request = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    open.write_all(request).await.unwrap();
    assert!(read_to_end(&mut open).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn what_was_refused_is_read_again_when_its_cause_is_mended_elsewhere() {
    let relay = start("");
    let dir = relay.home().path().join("certs");
    let text = "[edge]\ntls_cert = \"new.pem\"\ntls_key = \"new-key.pem\"\n";
    change(&relay, text, "refused").await;
    let copy = |from: &str, to: &str| {
        fs::copy(dir.join(from), relay.home().path().join(to)).unwrap();
    };
    // Half of it is another fault, and told as such; what stays as it is is told once.
    copy("localhost.pem", "new.pem");
    reloaded(&relay, "refused", 1).await;
    copy("localhost-key.pem", "new-key.pem");
    reloaded(&relay, "applied", 0).await;
    assert_eq!(config_check(&relay).await["ok"], true);
    // The last line before, so that all are there.
    relay.says("a setting has changed key=\"edge.tls_cert\"");
    let told = relay.log().matches("the configuration was refused").count();
    assert_eq!(told, 2, "{}", relay.log());
}

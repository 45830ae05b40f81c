//! Certificates while the relay serves: replaced, several, bad, about to end; and clients
//! that must show one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::authority::{Authority, DAY};
use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, ask, leaf};

/// A home whose relays serve `tls.crt` and `tls.key` of a directory, looked at each second.
fn home(dir: &str) -> Home {
    let home = Home::lived_in();
    let path = |name: &str| home.path().join(dir).join(name).display().to_string();
    let (cert, key) = (path("tls.crt"), path("tls.key"));
    home.with("TLS_CERT", &cert)
        .with("TLS_KEY", &key)
        .with("TLS_LOOK_SECONDS", "1")
}

/// Writes a pair as `tls.crt` and `tls.key`, each beside and renamed.
fn put(dir: &Path, (chain, key): &(String, String)) {
    fs::create_dir_all(dir).unwrap();
    for (name, text) in [("tls.key", key), ("tls.crt", chain)] {
        let beside = dir.join("beside");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, dir.join(name)).unwrap();
    }
}

/// Points a name at a directory, as Kubernetes does for mounted secrets.
fn point(link: &Path, to: &Path) {
    let beside = link.with_extension("beside");
    symlink(to, &beside).unwrap();
    fs::rename(beside, link).unwrap();
}

async fn served(client: &Client, relay: &Relay) -> Vec<u8> {
    leaf(&client.connect(relay).await.unwrap())
}

/// Waits until another one is served; which.
async fn another(than: &[u8], client: &Client, relay: &Relay) -> Vec<u8> {
    let differs = || async { served(client, relay).await != than };
    eventually("another certificate is served", differs).await;
    served(client, relay).await
}

async fn is_well(relay: &Relay) -> bool {
    let (_, health) = relay.health().await;
    assert_eq!(health["ready"], true, "a certificate is no cause to stop");
    health["checks"]["certificates"]["ok"].as_bool().unwrap()
}

#[tokio::test]
async fn a_new_certificate_is_served_and_no_connection_ends() {
    let authority = Authority::new();
    let home = home("live");
    let path = |name: &str| home.path().join(name);
    put(&path("first"), &authority.issue(&["localhost"]));
    put(&path("second"), &authority.issue(&["localhost"]));
    point(&path("live"), &path("first"));
    let relay = home.start();
    let client = Client::trusting(&authority.pem(), None);
    let mut open = client.connect(&relay).await.unwrap();
    let first = leaf(&open);
    // A swap of the directory's symlink.
    point(&path("live"), &path("second"));
    let second = another(&first, &client, &relay).await;
    // A rename of the files.
    put(&path("second"), &authority.issue(&["localhost"]));
    another(&second, &client, &relay).await;
    // Who came with the first is still here.
    let answer = ask(&mut open).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let replaced = "relay_tls_certificate_reloads_total{outcome=\"replaced\"}";
    // The third came as two files; a look may have met them halfway.
    assert!(relay.figure(replaced).await >= Some(2));
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_last_good_one_and_alarms() {
    let authority = Authority::new();
    let home = home("live");
    let live = home.path().join("live");
    let good = authority.issue(&["localhost"]);
    let other = authority.issue(&["localhost"]);
    put(&live, &good);
    let relay = home.start();
    let client = Client::trusting(&authority.pem(), None);
    let first = served(&client, &relay).await;
    assert!(is_well(&relay).await);
    let faulty = "relay_tls_certificate_faulty{certificate=\"0\"}";
    assert_eq!(relay.figure(faulty).await, Some(0));
    // Another key; one that has ended; a file that is gone.
    put(&live, &(good.0.clone(), other.1.clone()));
    eventually("the mismatch is seen", || async { !is_well(&relay).await }).await;
    assert_eq!(relay.figure(faulty).await, Some(1));
    relay.says("the key does not match the certificate");
    put(&live, &authority.issue_for(&["localhost"], Duration::ZERO));
    relay.says("it has expired");
    fs::remove_file(live.join("tls.crt")).unwrap();
    relay.says("cannot read");
    assert_eq!(served(&client, &relay).await, first);
    put(&live, &other);
    eventually("it is mended", || async { is_well(&relay).await }).await;
    assert_ne!(served(&client, &relay).await, first);
    let refused = "relay_tls_certificate_reloads_total{outcome=\"refused\"}";
    assert!(relay.figure(refused).await >= Some(3));
}

#[tokio::test]
async fn at_a_start_one_that_has_expired_is_served_and_the_log_says_so() {
    let authority = Authority::new();
    let home = home("live");
    let expired = authority.issue_for(&["localhost"], Duration::ZERO);
    put(&home.path().join("live"), &expired);
    let relay = home.start();
    let said = relay.says("it has expired");
    assert!(said.contains("served all the same"), "{said}");
    assert!(!is_well(&relay).await);
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_told_and_holds_up_no_handshake() {
    let authority = Authority::new();
    let home = home("live");
    let live = home.path().join("live");
    let pair = authority.issue(&["localhost"]);
    put(&live, &pair);
    let relay = home.start();
    let client = Client::trusting(&authority.pem(), None);
    let first = served(&client, &relay).await;
    assert!(is_well(&relay).await);
    // Whoever opens a pipe to read from it waits for somebody who writes.
    let pipe = live.join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::hard_link(&pipe, live.join("beside")).unwrap();
    fs::rename(live.join("beside"), live.join("tls.crt")).unwrap();
    eventually("it is told", || async { !is_well(&relay).await }).await;
    relay.says("its files do not come");
    let faulty = "relay_tls_certificate_faulty{certificate=\"0\"}";
    assert_eq!(relay.figure(faulty).await, Some(1));
    assert_eq!(served(&client, &relay).await, first);
    // It answers again, and what was renewed meanwhile is served.
    put(&live, &authority.issue(&["localhost"]));
    fs::write(&pipe, &pair.0).unwrap();
    eventually("it is well", || async { is_well(&relay).await }).await;
    another(&first, &client, &relay).await;
    assert_eq!(relay.figure(faulty).await, Some(0));
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_shown_before_it_does() {
    let authority = Authority::new();
    let home = home("live");
    let live = home.path().join("live");
    let week = Duration::from_secs(7 * DAY);
    put(&live, &authority.issue_for(&["localhost"], week));
    let relay = home.start();
    assert!(!is_well(&relay).await);
    let expiring = "relay_tls_certificates_expiring";
    assert_eq!(relay.figure(expiring).await, Some(1));
    let name = "relay_tls_certificate_expires_seconds{certificate=\"0\"}";
    let ends = relay.figure(name).await.unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let left = ends - now.as_secs();
    assert!((7 * DAY - 3600..=7 * DAY).contains(&left), "{left}");
    put(&live, &authority.issue(&["localhost"]));
    eventually("a fresh one is well", || async { is_well(&relay).await }).await;
    assert_eq!(relay.figure(expiring).await, Some(0));
}

#[tokio::test]
async fn each_name_gets_its_own_certificate() {
    let authority = Authority::new();
    let home = home("live");
    put(&home.path().join("live"), &authority.issue(&["localhost"]));
    for (dir, names) in [("a", ["chat.example.com"]), ("b", ["*.example.org"])] {
        put(&home.path().join(dir), &authority.issue(&names));
    }
    // As the file has it; paths are relative to where the relay was started.
    let text = "[[tls.certificates]]\ncert = \"a/tls.crt\"\nkey = \"a/tls.key\"\n\n\
                [[tls.certificates]]\ncert = \"b/tls.crt\"\nkey = \"b/tls.key\"\n";
    fs::write(home.path().join("relay.toml"), text).unwrap();
    let relay = home.start();
    let client = Client::trusting(&authority.pem(), None);
    for name in ["localhost", "chat.example.com", "x.example.org"] {
        // The client checks that the name is the certificate's.
        let connected = client.connect_to(relay.public, name).await;
        assert!(connected.is_ok(), "{name}: {connected:?}");
    }
    let stranger = client.connect_to(relay.public, "other.example.com").await;
    let refused = stranger.unwrap_err().to_string();
    assert!(refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn with_client_authorities_only_their_certificates_connect() {
    let (server, proxies, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let home = home("live");
    put(&home.path().join("live"), &server.issue(&["localhost"]));
    let bundle = home.path().join("clients.pem");
    fs::write(&bundle, proxies.pem()).unwrap();
    let home = home.with("TLS_CLIENT_CA", &bundle.display().to_string());
    let relay = home.start();
    let proxy = Client::trusting(&server.pem(), Some(&proxies.issue(&["proxy.test"])));
    let stranger = Client::trusting(&server.pem(), Some(&strangers.issue(&["proxy.test"])));
    let nobody = Client::trusting(&server.pem(), None);
    assert!(is_let_in(&proxy, &relay).await);
    assert!(!is_let_in(&stranger, &relay).await);
    assert!(!is_let_in(&nobody, &relay).await);
    // The authority changes: what it said before is not remembered.
    fs::write(&bundle, strangers.pem()).unwrap();
    eventually("the new authority is believed", || async {
        is_let_in(&stranger, &relay).await
    })
    .await;
    assert!(!is_let_in(&proxy, &relay).await);
    // A bundle that is none leaves the last one.
    fs::write(&bundle, "nonsense").unwrap();
    eventually("it is seen", || async { !is_well(&relay).await }).await;
    assert!(is_let_in(&stranger, &relay).await);
    assert!(!is_let_in(&proxy, &relay).await);
}

/// With TLS 1.3 a client learns of its refusal after the handshake.
async fn is_let_in(client: &Client, relay: &Relay) -> bool {
    let Ok(mut stream) = client.connect(relay).await else {
        return false;
    };
    let answer = ask(&mut stream).await;
    answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

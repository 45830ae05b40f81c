//! Mutual TLS toward the proxies that operators use, configured as docs/deployment.md says.

use std::fs;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::authority::Authority;
use crate::front::Front;
use crate::relay::{Home, Relay, free_address};

/// A relay that lets in whoever shows a certificate of one authority, and that has a
/// certificate of the same for `relay.example.com`.
fn relay(authority: &Authority) -> Relay {
    let home = Home::lived_in();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    let (chain, key) = authority.issue(&["relay.example.com"]);
    write("cert.pem", &chain);
    write("key.pem", &key);
    write("relay-ca.pem", &authority.pem());
    home.with("TLS_CERT", "cert.pem")
        .with("TLS_KEY", "key.pem")
        .with("TLS_CLIENT_CA", "relay-ca.pem")
        .with("TRUSTED_PROXIES", "127.0.0.1/32")
        .start()
}

/// Writes the client certificate of the proxy, in two files and in one.
fn identify(relay: &Relay, authority: &Authority) {
    let write = |name: &str, text: &str| fs::write(relay.home().path().join(name), text).unwrap();
    let (chain, key) = authority.issue(&["proxy.example.com"]);
    write("relay-client.pem", &format!("{chain}{key}"));
    write("relay-client.key", &key);
}

/// The document's configuration for a proxy, with the test's paths and addresses.
fn documented(language: &str, relay: &Relay) -> String {
    let text = include_str!("../../docs/deployment.md");
    let block = text.split(&format!("```{language}\n")).nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    let dir = relay.home().path().display().to_string();
    let replaced = block
        .replace("10.0.0.5:8443", &relay.public.to_string())
        .replace("/etc/nginx", &dir)
        .replace("/etc/haproxy", &dir);
    assert!(replaced.contains(&dir));
    replaced
}

fn nginx(relay: &Relay) -> Front {
    let (address, dir) = (free_address(), relay.home().path().display());
    let config = format!(
        "daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; user root;\n\
         events {{}}\n\
         http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p;\n\
         fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
         server {{ listen {address};\n{}}} }}\n",
        documented("nginx", relay)
    );
    start(relay, "nginx", "-c", &config, address)
}

fn haproxy(relay: &Relay) -> Front {
    let address = free_address();
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         frontend phones\n bind {address}\n default_backend relays\n{}",
        documented("haproxy", relay)
    );
    start(relay, "haproxy", "-f", &config, address)
}

fn start(
    relay: &Relay,
    program: &str,
    flag: &str,
    config: &str,
    address: std::net::SocketAddr,
) -> Front {
    let path = relay.home().path().join(format!("{program}.conf"));
    fs::write(&path, config).unwrap();
    let path = path.display().to_string();
    Front::start(relay.home().path(), program, &[flag, &path], address)
}

/// The status of a request through a proxy.
async fn status(front: &Front) -> String {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let request = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let read = timeout(PATIENCE, stream.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn nginx_and_haproxy_are_let_in_by_their_certificates_and_not_without() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let relay = relay(&authority);
    for start in [nginx, haproxy] {
        identify(&relay, &authority);
        assert_eq!(status(&start(&relay)).await, "200");
        identify(&relay, &stranger);
        assert_eq!(status(&start(&relay)).await, "502");
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

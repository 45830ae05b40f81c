//! The servers beside which the relay is measured. None of them authenticates, stores
//! or orders anything.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use crate::server::{Posts, Process, Publisher, Server, Upgrade, connect_when_ready};
use crate::server::{free_port, next};
use crate::stream::{Numbering, Packing, payload};

/// What every peer gets.
struct Setting {
    directory: TempDir,
    public: u16,
    publish: u16,
    certificate: PathBuf,
    key: PathBuf,
}

/// Why a peer cannot be measured, in words.
type Missing = String;

pub(crate) const NAMES: [&str; 5] = ["floor", "nchan", "ws", "nats", "bun"];

/// Starts a peer whose events are `len` bytes long.
pub(crate) async fn start(name: &'static str, len: usize) -> Result<Server, Missing> {
    let setting = Setting::new().map_err(|error| error.to_string())?;
    let mut command = setting.command(name)?;
    let log = setting.directory.path().join("log");
    let process = Process::start(&mut command, &log)
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    let (publisher, posts) = Publisher::new();
    connect_when_ready(setting.public).await?;
    match name {
        "nchan" => {
            for _ in 0..HTTP_PUBLISHERS {
                let stream = connect_when_ready(setting.publish).await?;
                tokio::spawn(post_http(stream, posts.clone(), len));
            }
        }
        _ => {
            let stream = connect_when_ready(setting.publish).await?;
            let write = if name == "nats" { pub_line } else { pub_binary };
            tokio::spawn(post_tcp(stream, posts, len, write));
        }
    }
    let upgrade = move |group, _| match name {
        "nats" => Upgrade {
            path: "/".to_owned(),
            token: None,
            greeting: Some(format!(
                "CONNECT {{\"verbose\":false,\"pedantic\":false}}\r\nSUB g{group} 1\r\n"
            )),
        },
        _ => Upgrade {
            path: format!("/{group}"),
            ..Upgrade::default()
        },
    };
    Ok(Server {
        name,
        address: ([127, 0, 0, 1], setting.public).into(),
        certificate: setting.certificate.clone(),
        packing: match name {
            "nats" => Packing::Nats,
            _ => Packing::Messages,
        },
        numbering: Numbering::Digits,
        upgrade: Box::new(upgrade),
        publisher,
        pid: process.pid(),
        _life: Box::new((process, setting)),
    })
}

impl Setting {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let directory = TempDir::with_prefix("mls-relay-peer-")?;
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let certificate = directory.path().join("certificate.pem");
        let key = directory.path().join("key.pem");
        std::fs::write(&certificate, made.cert.pem())?;
        std::fs::write(&key, made.signing_key.serialize_pem())?;
        Ok(Self {
            directory,
            public: free_port(),
            publish: free_port(),
            certificate,
            key,
        })
    }

    fn command(&self, name: &str) -> Result<Command, Missing> {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/peers");
        // Where `make bench` puts what comes from npm.
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules");
        let directory = self.directory.path();
        Ok(match name {
            "nchan" => {
                let file = self.fill_in(&peers.join("nginx.conf"))?;
                let mut command = Command::new(installed("/usr/sbin/nginx")?);
                command.arg("-p").arg(directory).arg("-c").arg(file);
                command
            }
            "nats" => {
                let file = self.fill_in(&peers.join("nats.conf"))?;
                let mut command = Command::new(installed("/usr/sbin/nats-server")?);
                command.arg("--config").arg(file);
                command
            }
            "ws" => {
                installed(modules.join("ws"))?;
                let mut command = Command::new("node");
                command.env("NODE_PATH", modules).arg(peers.join("ws.js"));
                command.args(self.words());
                command
            }
            "bun" => {
                let bun = modules.join("@oven/bun-linux-x64/bin/bun");
                let mut command = Command::new(installed(bun)?);
                command.arg(peers.join("bun.js")).args(self.words());
                command
            }
            _ => {
                let mut floor = mls_relay_loadtest::relay_process::built_relay()
                    .map_err(|error| error.to_string())?;
                floor.set_file_name("floor");
                let mut command = Command::new(installed(floor)?);
                command.args(self.words());
                command
            }
        })
    }

    fn words(&self) -> [String; 4] {
        [
            self.certificate.display().to_string(),
            self.key.display().to_string(),
            self.public.to_string(),
            self.publish.to_string(),
        ]
    }

    fn fill_in(&self, template: &Path) -> Result<PathBuf, Missing> {
        let text = std::fs::read_to_string(template).map_err(|error| error.to_string())?;
        let [certificate, key, public, publish] = self.words();
        let text = text
            .replace("PUBLIC_PORT", &public)
            .replace("PUBLISH_PORT", &publish)
            .replace("CERTIFICATE", &certificate)
            .replace("KEY", &key);
        let file = self.directory.path().join("conf");
        std::fs::write(&file, text).map_err(|error| error.to_string())?;
        Ok(file)
    }
}

fn installed(path: impl Into<PathBuf>) -> Result<PathBuf, Missing> {
    let path = path.into();
    match path.exists() {
        true => Ok(path),
        false => Err(format!("{} is not installed", path.display())),
    }
}

type Write = fn(group: usize, event: &[u8]) -> Vec<u8>;

/// Group and length in 32 bits each, then the event.
fn pub_binary(group: usize, event: &[u8]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).unwrap().to_be_bytes();
    [&number(group), &number(event.len()), event].concat()
}

fn pub_line(group: usize, event: &[u8]) -> Vec<u8> {
    let head = format!("PUB g{group} {}\r\n", event.len());
    [head.as_bytes(), event, b"\r\n"].concat()
}

async fn post_tcp(mut stream: tokio::net::TcpStream, posts: Posts, len: usize, write: Write) {
    stream.set_nodelay(true).unwrap();
    while let Some((group, number)) = next(&posts).await {
        let bytes = write(group, &payload(number, len));
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn post_http(stream: tokio::net::TcpStream, posts: Posts, len: usize) {
    stream.set_nodelay(true).unwrap();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    while let Some((group, number)) = next(&posts).await {
        let request = Request::post(format!("/{group}"))
            .header("host", "localhost")
            .body(Full::new(Bytes::from(payload(number, len))))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        answer.into_body().collect().await.unwrap();
    }
}

/// As many as events are under way.
const HTTP_PUBLISHERS: usize = 8;

//! The floor: a bare broadcaster that only encrypts and writes, as a measure for
//! the relay's fan-out. It checks no tokens, stores nothing and orders nothing.
//!
//! It accepts every WebSocket, over TLS with a certificate of its own, and sends
//! each of `--events` events of `--bytes` bytes to all of them, one event at a
//! time, from tasks that do nothing else. A child process holds the other ends, so
//! that the CPU time it reports is its own.

use std::error::Error;
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use mls_relay_loadtest::load::Usage;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Handshakes under way at once.
const HANDSHAKES: usize = 64;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Parser)]
#[command(
    version,
    about = "A bare TLS broadcaster to compare the relay's fan-out with"
)]
struct Arguments {
    #[arg(long, default_value_t = 1000)]
    sockets: usize,

    #[arg(long, default_value_t = 200)]
    events: usize,

    #[arg(long, default_value_t = 256)]
    bytes: usize,

    /// Hold the client ends for the broadcaster at this port (it starts us so)
    #[arg(long, hide = true, requires = "certificate")]
    clients_of: Option<u16>,

    #[arg(long, hide = true)]
    certificate: Option<std::path::PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (arguments.clients_of, &arguments.certificate) {
        (Some(port), Some(certificate)) => listen(&arguments, port, certificate).await,
        _ => broadcast(&arguments).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The broadcaster: connects everyone, then sends event after event.
async fn broadcast(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (acceptor, certificate) = identity()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), &certificate)?;
    let mut clients = Command::new(std::env::current_exe()?)
        .args(["--sockets", &arguments.sockets.to_string()])
        .args(["--events", &arguments.events.to_string()])
        .args(["--clients-of", &listener.local_addr()?.port().to_string()])
        .arg("--certificate")
        .arg(file.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let empty = Usage::of(std::process::id()).unwrap_or_default();
    let sockets = timeout(PATIENCE, accept_all(arguments, &listener, acceptor)).await??;
    // What the handshakes left behind is no part of a socket.
    sleep(Duration::from_secs(1)).await;
    let full = Usage::of(std::process::id()).unwrap_or_default();

    let (events, event) = watch::channel(0_usize);
    let (finished, mut done) = tokio::sync::mpsc::channel(1024);
    let payload = Bytes::from(vec![b'x'; arguments.bytes]);
    for socket in sockets {
        tokio::spawn(serve(
            socket,
            event.clone(),
            finished.clone(),
            payload.clone(),
        ));
    }
    let begin = Instant::now();
    for number in 1..=arguments.events {
        events.send_replace(number);
        for _ in 0..arguments.sockets {
            timeout(PATIENCE, done.recv()).await?;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let after = Usage::of(std::process::id()).unwrap_or_default();
    let cpu = after.cpu_since(&full).as_secs_f64();
    drop(events);
    let clean = timeout(PATIENCE, clients.wait()).await??.success();
    let deliveries = (arguments.events * arguments.sockets) as f64;
    let grown = full.resident_kib.saturating_sub(empty.resident_kib) as f64;
    let figures = json!({
        "sockets": arguments.sockets,
        "deliveries": deliveries,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "deliveries_per_cpu_second": deliveries / cpu.max(0.01),
        "kib_per_socket": grown / arguments.sockets as f64,
    });
    println!("{figures}");
    if clean {
        Ok(())
    } else {
        Err("a client did not get every event".into())
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn accept_all(
    arguments: &Arguments,
    listener: &TcpListener,
    acceptor: TlsAcceptor,
) -> Result<Vec<Socket>, Box<dyn Error>> {
    let mut handshakes = JoinSet::new();
    let mut sockets = Vec::with_capacity(arguments.sockets);
    for _ in 0..arguments.sockets {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        handshakes.spawn(async move {
            let tls = acceptor.accept(tcp).await.ok()?;
            tokio_tungstenite::accept_async_with_config(tls, Some(config()))
                .await
                .ok()
        });
        while let Some(done) = handshakes.try_join_next() {
            sockets.push(done?.ok_or("a handshake failed")?);
        }
    }
    while let Some(done) = handshakes.join_next().await {
        sockets.push(done?.ok_or("a handshake failed")?);
    }
    Ok(sockets)
}

/// Sends one frame for each event, and says when it is written.
async fn serve(
    mut socket: Socket,
    mut event: watch::Receiver<usize>,
    finished: tokio::sync::mpsc::Sender<()>,
    payload: Bytes,
) {
    while event.changed().await.is_ok() {
        event.mark_unchanged();
        let sent = socket.send(Message::Binary(payload.clone())).await;
        if sent.is_err() || finished.send(()).await.is_err() {
            return;
        }
    }
    // The client ends are closing too.
    let _ = socket.close(None).await;
}

/// The client ends: each must get every event.
async fn listen(
    arguments: &Arguments,
    port: u16,
    certificate: &std::path::Path,
) -> Result<(), Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(std::fs::read(certificate)?))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(tls));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut sockets = JoinSet::new();
    for _ in 0..arguments.sockets {
        let permit = Arc::clone(&handshakes).acquire_owned().await?;
        let connector = connector.clone();
        sockets.spawn(async move {
            let tcp = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            let name = ServerName::try_from("localhost").ok()?;
            let tls = connector.connect(name, tcp).await.ok()?;
            let url = "wss://localhost/";
            let (mut socket, _) =
                tokio_tungstenite::client_async_with_config(url, tls, Some(config()))
                    .await
                    .ok()?;
            drop(permit);
            let mut events = 0_usize;
            while let Some(Ok(message)) = socket.next().await {
                events += usize::from(message.is_binary());
            }
            Some(events)
        });
    }
    while let Some(events) = sockets.join_next().await {
        if events? != Some(arguments.events) {
            return Err("a socket missed an event".into());
        }
    }
    Ok(())
}

/// Small buffers, and every frame written at once.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
}

fn identity() -> Result<(TlsAcceptor, Vec<u8>), Box<dyn Error>> {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = key.cert.der().to_vec();
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.clone())], private)?;
    Ok((TlsAcceptor::from(Arc::new(tls)), certificate))
}

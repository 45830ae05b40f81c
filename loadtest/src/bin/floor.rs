//! The floor: a bare broadcaster that only encrypts and writes, as a measure for the
//! relay's fan-out. It checks no tokens, stores nothing and orders nothing.
//!
//! Its subscribers come by TLS and WebSocket, and the path is their group. Events come by
//! plain TCP: group and length in two 32-bit numbers, then the event. Each socket has a
//! task that does nothing else than write.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clap::Parser;
use futures_util::SinkExt;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

#[derive(Parser)]
#[command(
    version,
    about = "A bare TLS broadcaster to compare the relay's fan-out with"
)]
struct Arguments {
    certificate: PathBuf,
    key: PathBuf,
    /// Where subscribers come, on loopback
    public_port: u16,
    /// Where events come, on loopback
    publish_port: u16,
}

/// The events of each group.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<HashMap<u32, broadcast::Sender<Bytes>>>>);

/// Events that wait for one socket; with more it has failed.
const QUEUE: usize = 1024;

#[tokio::main]
async fn main() -> ExitCode {
    match serve(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let acceptor = acceptor(arguments)?;
    let groups = Groups::default();
    let publishers = TcpListener::bind(("127.0.0.1", arguments.publish_port)).await?;
    let subscribers = TcpListener::bind(("127.0.0.1", arguments.public_port)).await?;
    loop {
        tokio::select! {
            accepted = publishers.accept() => {
                tokio::spawn(publish(accepted?.0, groups.clone()));
            }
            accepted = subscribers.accept() => {
                tokio::spawn(subscribe(accepted?.0, acceptor.clone(), groups.clone()));
            }
        }
    }
}

/// Reads events until the publisher has gone.
async fn publish(mut stream: TcpStream, groups: Groups) -> std::io::Result<()> {
    loop {
        let group = stream.read_u32().await?;
        let len = stream.read_u32().await?;
        let mut event = vec![0; len as usize];
        stream.read_exact(&mut event).await?;
        // A group without subscribers hears nothing.
        let _ = groups.of(group).send(event.into());
    }
}

/// Writes one frame for each event.
async fn subscribe(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    groups: Groups,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    tcp.set_nodelay(true)?;
    let tls = acceptor.accept(tcp).await?;
    let mut group = 0;
    #[expect(
        clippy::result_large_err,
        reason = "the type of the callback is tungstenite's"
    )]
    let path = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let path = request.uri().path().trim_start_matches('/');
        group = path.parse().unwrap_or_default();
        Ok(response)
    };
    let mut socket = accept_hdr_async_with_config(tls, path, Some(config())).await?;
    let mut events = groups.of(group).subscribe();
    loop {
        socket.send(Message::Binary(events.recv().await?)).await?;
    }
}

impl Groups {
    fn of(&self, group: u32) -> broadcast::Sender<Bytes> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = groups.entry(group);
        sender
            .or_insert_with(|| broadcast::Sender::new(QUEUE))
            .clone()
    }
}

/// Small buffers, and every frame written at once.
fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
}

fn acceptor(arguments: &Arguments) -> Result<TlsAcceptor, Box<dyn Error>> {
    let certificate = CertificateDer::from_pem_file(&arguments.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

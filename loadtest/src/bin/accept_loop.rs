//! A bare accept loop: TLS as the relay offers it and nothing else, as a measure for
//! what a connection costs there.
//!
//! It prints its port, shakes hands with whoever comes, reads until they leave, and
//! says goodbye, until it is killed.

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[derive(Parser)]
#[command(
    version,
    about = "A bare TLS accept loop to compare the relay's handshakes with"
)]
struct Arguments {
    #[arg(long)]
    certificate: PathBuf,

    #[arg(long)]
    key: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Err(error) = run(&arguments).await;
    eprintln!("accept_loop: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: &Arguments) -> Result<Infallible, Box<dyn Error>> {
    let acceptor = acceptor(&arguments.certificate, &arguments.key)?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (tcp, _) = listener.accept().await?;
        tokio::spawn(serve(acceptor.clone(), tcp));
    }
}

/// One connection. What becomes of it is the client's to judge.
async fn serve(acceptor: TlsAcceptor, tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = acceptor.accept(tcp).await?;
    let mut ignored = [0; 256];
    while tls.read(&mut ignored).await? > 0 {}
    tls.shutdown().await
}

/// The relay's choices: its protocols, its order, one stateless ticket a connection.
fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, Box<dyn Error>> {
    let mut certificate = BufReader::new(File::open(certificate)?);
    let chain = rustls_pemfile::certs(&mut certificate).collect::<Result<Vec<_>, _>>()?;
    let key = rustls_pemfile::private_key(&mut BufReader::new(File::open(key)?))?;
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key.ok_or("the key file holds no key")?)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls.ignore_client_order = true;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.ticketer = Ticketer::new()?;
    tls.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

//! A bare accept loop: TLS as the relay offers it and nothing else, as a measure for what a
//! connection costs there.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Prints its port, shakes hands with whoever comes, reads until they leave, and says goodbye,
/// until it is killed. With the certificate and the key that the relay has made for itself.
pub(crate) async fn serve(certificate: &Path) {
    let acceptor = acceptor(
        certificate,
        &certificate.with_file_name("localhost-key.pem"),
    );
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tokio::spawn(connected(acceptor.clone(), tcp));
    }
}

/// One connection. What becomes of it is the client's to judge.
async fn connected(acceptor: TlsAcceptor, tcp: TcpStream) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = acceptor.accept(tcp).await?;
    let mut ignored = [0; 256];
    while tls.read(&mut ignored).await? > 0 {}
    tls.shutdown().await
}

/// The relay's choices: its protocols, its order, one stateless ticket a connection.
fn acceptor(certificate: &Path, key: &Path) -> TlsAcceptor {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let mut tls = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls.ignore_client_order = true;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.ticketer = Ticketer::new().unwrap();
    tls.send_tls13_tickets = 1;
    TlsAcceptor::from(Arc::new(tls))
}

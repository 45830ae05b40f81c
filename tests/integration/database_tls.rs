//! What an operator hears when TLS toward Postgres fails: what it was, and no secret.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use mls_relay::store::{DatabaseUrl, Settings, Store, StoreError};
use rustls::ServerConfig;
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;
use crate::database::Database;

/// A server that begins as Postgres does, with a certificate for a name or without TLS;
/// its port. No handshake of these tests gets further.
async fn postgres(authority: &Authority, name: Option<&str>) -> u16 {
    let acceptor = name.map(|name| {
        let (chain, key) = authority.issue(&[name]);
        let chain = rustls_pemfile::certs(&mut chain.as_bytes())
            .map(Result::unwrap)
            .collect();
        let key = rustls_pemfile::private_key(&mut key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.unwrap())
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // SSLRequest.
            let _ = stream.read_exact(&mut [0; 8]).await;
            let answer: &[u8] = if acceptor.is_some() { b"S" } else { b"N" };
            let _ = stream.write_all(answer).await;
            if let Some(acceptor) = &acceptor {
                let _ = acceptor.accept(stream).await;
            }
        }
    });
    port
}

fn settings(host: &str, port: u16, authorities: Option<&Path>) -> Settings {
    let url = format!("postgres://relay:geheim@{host}:{port}/relay?sslmode=require");
    let mut settings = Settings::for_database(DatabaseUrl::parse(&url).unwrap());
    settings.ca_file = authorities.map(Path::to_owned);
    settings
}

async fn refusal(settings: &Settings) -> StoreError {
    let error = Store::migrate(settings).await.unwrap_err();
    assert!(!error.to_string().contains("geheim"), "{error}");
    error
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_by_its_fault() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (ours_file, theirs_file) = (file(&ours.pem()), file(&theirs.pem()));
    let port = postgres(&ours, Some("localhost")).await;
    for (host, authorities, told) in [
        ("localhost", None, "UnknownIssuer"),
        (
            "localhost",
            Some(theirs_file.path()),
            "invalid peer certificate",
        ),
        (
            "127.0.0.1",
            Some(ours_file.path()),
            "not valid for name \"127.0.0.1\"",
        ),
    ] {
        let error = refusal(&settings(host, port, authorities)).await;
        assert!(error.to_string().contains(told), "{error}");
        // It may be in the middle of a rotation.
        assert!(error.is_transient());
    }
    let plain = postgres(&ours, None).await;
    let error = refusal(&settings("localhost", plain, None)).await;
    let told = "server does not support TLS, which sslmode=require in its URL asks for";
    assert!(error.to_string().contains(told), "{error}");
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let missing = Path::new("/nowhere/ca.pem");
    let empty = file("no certificate");
    for (path, told) in [
        (missing, "No such file"),
        (empty.path(), "there is no certificate in it"),
    ] {
        let error = refusal(&settings("localhost", 1, Some(path))).await;
        let text = error.to_string();
        assert!(text.contains("DATABASE_CA_FILE"), "{text}");
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        assert!(text.contains(told), "{text}");
        assert!(!error.is_transient());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_connection_in_vain_hears_why_none_came() {
    let mut database = Database::start().await;
    let (store, _shutdown) = database.store().await;
    store.ensure_partitions().await.unwrap();
    database.down("fast");
    let error = store.ensure_partitions().await.unwrap_err();
    let told = "error connecting to server: No such file or directory";
    assert!(error.to_string().contains(told), "{error}");
    assert!(error.is_transient());
    database.up().await;
    store.ensure_partitions().await.unwrap();
}

#[tokio::test]
async fn who_is_not_let_in_hears_what_postgres_said() {
    let database = Database::start().await;
    let url = database.url().replace("user=relay", "user=stranger");
    let settings = Settings::for_database(DatabaseUrl::parse(&url).unwrap());
    let error = refusal(&settings).await;
    let told = "role \"stranger\" does not exist (SQLSTATE 28000)";
    assert!(error.to_string().contains(told), "{error}");
    assert!(!error.is_transient());
}

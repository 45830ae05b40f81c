//! `did:web` over TLS, and the addresses that nobody may send us to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mls_relay_loadtest::identity::{Account, Curve as KeyCurve};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::outbound::{FetchError, Fetched, Fetcher, Page, Reach};

const HOST: &str = "pds.someone.net";
const SEVEN_SECONDS: Duration = Duration::from_secs(7);

/// The TLS of a server for these hosts, and the roots under which it is trusted.
pub(crate) fn tls_of(hosts: Vec<String>) -> (TlsAcceptor, RootCertStore) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), roots)
}

/// A TLS server for [`HOST`] that answers one request with `answer`, and the
/// roots under which it is trusted.
async fn serve_once(answer: String) -> (SocketAddr, RootCertStore) {
    let (acceptor, roots) = tls_of(vec![HOST.into()]);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust us ends the handshake.
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return;
        };
        let mut request = vec![0; 4096];
        let len = stream.read(&mut request).await.unwrap();
        let request = String::from_utf8_lossy(&request[..len]).to_lowercase();
        assert!(request.starts_with("get /.well-known/did.json http/1.1\r\n"));
        assert!(request.contains(&format!("host: {HOST}:")));
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    (address, roots)
}

fn page(host: &str, dialled: SocketAddr) -> Page<'_> {
    Page {
        host,
        port: dialled.port(),
        path: "/.well-known/did.json",
        tls: true,
        reach: Reach::Exactly(dialled),
    }
}

fn ok(body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_document_comes_over_tls_from_the_host_of_the_did() {
    let account = Account::with_did(&format!("did:web:{HOST}"), KeyCurve::Secp256k1).unwrap();
    let document = account.document().to_string();
    let (address, roots) = serve_once(ok(&document)).await;
    let fetcher = Fetcher::trusting(roots, 4096).unwrap();
    match fetcher
        .get(&page(HOST, address), Arc::new(()))
        .await
        .unwrap()
    {
        Fetched::Document(bytes) => assert_eq!(bytes, document.as_bytes()),
        Fetched::Absent => panic!("no document"),
    }
}

#[tokio::test]
async fn a_host_that_cannot_prove_its_name_is_not_asked() {
    let (address, roots) = serve_once(ok("{}")).await;
    let fetcher = Fetcher::trusting(roots, 4096).unwrap();
    let refused = fetcher
        .get(&page("other.someone.net", address), Arc::new(()))
        .await;
    let told = refused.unwrap_err().to_string();
    assert!(told.ends_with("certificate is for other names"), "{told}");

    let (address, _) = serve_once(ok("{}")).await;
    let fetcher = Fetcher::new(4096).unwrap();
    let refused = fetcher.get(&page(HOST, address), Arc::new(())).await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("no authority that is known"), "{told}");

    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let refused = fetcher.get(&page(HOST, address), Arc::new(())).await;
    let told = refused.unwrap_err().to_string();
    assert!(told.contains("Connection refused"), "{told}");
}

/// A whole document of so many bytes.
fn long(len: usize) -> String {
    let body = "x".repeat(len);
    format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_host_that_says_gone_redirects_or_babbles_gives_no_document() {
    for (answer, expected) in [
        (
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "absent",
        ),
        ("HTTP/1.1 410 Gone\r\ncontent-length: 0\r\n\r\n", "absent"),
        (
            "HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\n\r\n",
            "status",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            "come back in 7s",
        ),
        (
            "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
            "come back",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
            "body",
        ),
        (&long(4096), "document"),
        (&long(4097), "body"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "http"),
        ("", "http"),
    ] {
        let (address, roots) = serve_once(answer.to_owned()).await;
        let fetcher = Fetcher::trusting(roots, 4096).unwrap();
        let outcome = match fetcher.get(&page(HOST, address), Arc::new(())).await {
            Ok(Fetched::Document(_)) => "document",
            Ok(Fetched::Absent) => "absent",
            Err(FetchError::Limited {
                retry_after: Some(SEVEN_SECONDS),
            }) => "come back in 7s",
            Err(FetchError::Limited { retry_after: None }) => "come back",
            Err(FetchError::Status(_)) => "status",
            Err(FetchError::Body) => "body",
            Err(FetchError::Http) => "http",
            Err(_) => "other",
        };
        assert_eq!(outcome, expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_dialled() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let fetcher = Fetcher::new(4096).unwrap();
    for host in [
        "localhost",
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::ffff:127.0.0.1",
    ] {
        let page = Page {
            reach: Reach::PublicOnly,
            ..page(host, listener.local_addr().unwrap())
        };
        // Whoever is dialled never answers.
        let refused = timeout(Duration::from_secs(5), fetcher.get(&page, Arc::new(()))).await;
        let refused = refused.map(|fetched| fetched.map(|_| ()));
        assert!(
            matches!(refused, Ok(Err(FetchError::AddressRefused))),
            "{host}: {refused:?}"
        );
    }
    let knock = timeout(Duration::from_millis(20), listener.accept());
    assert!(knock.await.is_err(), "somebody knocked");
}

#[tokio::test]
async fn a_name_that_no_name_server_knows_is_told_as_such() {
    let fetcher = Fetcher::trusting(RootCertStore::empty(), 1000).unwrap();
    // Too long to be one: no name server is asked.
    let host = "a".repeat(64);
    let page = Page {
        host: &host,
        port: 443,
        path: "/",
        tls: true,
        reach: Reach::Anywhere,
    };
    let refused = fetcher.get(&page, Arc::new(())).await;
    assert!(matches!(refused, Err(FetchError::Lookup)), "{refused:?}");
}

//! Clients that break the rules, or stretch them.

use ::aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::ConnectionTrafficSecrets::Aes256Gcm;
use rustls::ContentType;
use rustls::crypto::aws_lc_rs::default_provider;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;

use super::super::test_configs::{configs, localhost};
use super::*;

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, theirs) = tokio::join!(listener.accept(), theirs);
    (accepted.unwrap().0, theirs.unwrap())
}

/// A client that can break the rules, since it has its keys in its own hands.
struct Client {
    tcp: TcpStream,
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

impl Client {
    async fn send(&mut self, content: &[u8], kind: ContentType) {
        let mut record = [content, &[u8::from(kind)]].concat();
        let [high, low] = u16::try_from(record.len() + 16).unwrap().to_be_bytes();
        let header = [0x17, 3, 3, high, low];
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let sealed = self
            .key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut record);
        sealed.unwrap();
        self.tcp.write_all(&header).await.unwrap();
        self.tcp.write_all(&record).await.unwrap();
    }

    /// Whether a record came, and not the end.
    async fn hears_a_record(&mut self) -> bool {
        let mut header = [0; 5];
        if self.tcp.read_exact(&mut header).await.is_err() {
            return false;
        }
        let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        self.tcp.read_exact(&mut record).await.is_ok()
    }
}

/// Both ends after their handshake.
async fn connected() -> (TlsStream, Client) {
    let (mut server, mut client) = configs(default_provider(), default_provider());
    // Then what the client hears is what the test has written.
    server.send_tls13_tickets = 0;
    client.enable_secret_extraction = true;
    let (ours, theirs) = tcp_pair().await;
    let connector = TlsConnector::from(Arc::new(client));
    let (ours, theirs) = tokio::join!(
        TlsStream::accept(Arc::new(server), ours, Vec::new()),
        connector.connect(localhost(), theirs)
    );
    let (tcp, session) = theirs.unwrap().into_inner();
    let (number, Aes256Gcm { key, iv }) = session.dangerous_extract_secrets().unwrap().tx else {
        panic!("both sides prefer it");
    };
    let key = UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).unwrap();
    let client = Client {
        tcp,
        key: LessSafeKey::new(key),
        iv: iv.as_ref().try_into().unwrap(),
        number,
    };
    (ours.unwrap(), client)
}

/// Reads until there is nothing more to read for now.
async fn read_what_is_there(stream: &mut TlsStream) -> Option<io::Result<usize>> {
    let mut buffer = [0; 64];
    let patience = std::time::Duration::from_millis(200);
    let read = tokio::time::timeout(patience, stream.read(&mut buffer));
    read.await.ok()
}

#[tokio::test]
async fn half_a_handshake_message_stops_nobody_from_writing_or_saying_goodbye() {
    let (mut ours, mut client) = connected().await;
    // KeyUpdate (RFC 8446 section 4.6.3): a byte of five.
    client.send(&[24], ContentType::Handshake).await;
    assert!(read_what_is_there(&mut ours).await.is_none());
    ours.write_all(b"an event").await.unwrap();
    ours.flush().await.unwrap();
    assert!(client.hears_a_record().await);
    // The rest of it: not requested of us.
    client.send(&[0, 0, 1, 0], ContentType::Handshake).await;
    assert!(read_what_is_there(&mut ours).await.is_none());
    ours.write_all(b"another").await.unwrap();
    ours.shutdown().await.unwrap();
    assert!(client.hears_a_record().await);
    assert!(client.hears_a_record().await);
    assert!(!client.hears_a_record().await);
}

#[tokio::test]
async fn half_a_handshake_message_and_then_a_goodbye() {
    let (mut ours, mut client) = connected().await;
    client.send(&[24], ContentType::Handshake).await;
    assert!(read_what_is_there(&mut ours).await.is_none());
    ours.shutdown().await.unwrap();
    assert!(client.hears_a_record().await);
}

#[tokio::test]
async fn after_our_goodbye_nothing_is_said_or_looked_at() {
    let (mut ours, mut client) = connected().await;
    ours.shutdown().await.unwrap();
    assert!(client.hears_a_record().await);
    assert!(ours.write_all(b"one thing more").await.is_err());
    // A message that is none, for which rustls would have a last word after the last.
    client.send(&[24, 0, 0, 0], ContentType::Handshake).await;
    client.send(b"hello", ContentType::ApplicationData).await;
    assert!(read_what_is_there(&mut ours).await.is_none());
    assert!(!client.hears_a_record().await);
    drop(client);
    assert!(read_what_is_there(&mut ours).await.unwrap().is_err());
}

#[tokio::test]
async fn who_breaks_the_rules_in_the_middle_of_a_message_is_refused_and_asked_no_more() {
    let (mut ours, mut client) = connected().await;
    client.send(&[24], ContentType::Handshake).await;
    client.send(b"hello", ContentType::ApplicationData).await;
    assert!(read_what_is_there(&mut ours).await.unwrap().is_err());
    assert!(ours.write_all(b"an event").await.is_err());
    assert!(read_what_is_there(&mut ours).await.unwrap().is_err());
    ours.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stranger_who_sends_half_a_hello_and_then_something_else_is_refused() {
    // A byte of a ClientHello; then application data.
    let begun = [[22, 3, 1, 0, 1, 1], [23, 3, 3, 0, 1, 0]].concat();
    for read_before in [0, 6, 12] {
        let (server, _) = configs(default_provider(), default_provider());
        let (ours, mut theirs) = tcp_pair().await;
        theirs.write_all(&begun[read_before..]).await.unwrap();
        let accepted = TlsStream::accept(Arc::new(server), ours, begun[..read_before].to_vec());
        assert!(accepted.await.is_err());
    }
}

#[tokio::test]
async fn a_request_in_plain_http_is_told_what_to_speak_here() {
    for (begun, sent, is_told) in [
        ("", "GET /xrpc/_health HTTP/1.1\r\n\r\n", true),
        ("POST /xrpc/ HTTP/1.0\r\n\r\n", "", true),
        ("", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", false),
    ] {
        let (server, _) = configs(default_provider(), default_provider());
        let (ours, mut theirs) = tcp_pair().await;
        theirs.write_all(sent.as_bytes()).await.unwrap();
        let accepted = TlsStream::accept(Arc::new(server), ours, begun.into());
        assert!(accepted.await.is_err());
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        let heard = String::from_utf8_lossy(&heard);
        let told = heard.starts_with("HTTP/1.1 400 ") && heard.contains("speaks TLS");
        assert_eq!(told, is_told, "{heard}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_write_that_finds_no_room_ends_the_patience_of_the_kernel() {
    let (mut stream, _client) = connected().await;
    let socket = socket2::SockRef::from(&stream.tcp);
    socket.set_send_buffer_size(4096).unwrap();
    rustix::net::sockopt::set_tcp_user_timeout(&stream.tcp, 1_000).unwrap();
    let context = &mut Context::from_waker(std::task::Waker::noop());
    while Pin::new(&mut stream)
        .poll_write(context, &[0; 16 << 10])
        .is_ready()
    {}
    let patience = rustix::net::sockopt::tcp_user_timeout(&stream.tcp).unwrap();
    assert_eq!(patience, 0);
}

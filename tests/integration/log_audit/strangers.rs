//! What strangers can say before anybody asks them for a token, in TLS, in HTTP and before
//! both.

use tokio::io::AsyncWriteExt;

use super::sockets::{ends, hears};
use super::{MARK, Stage};

impl Stage {
    pub(super) async fn strangers_knock(&mut self) {
        let names = ["did:plc:planted0name0of0nobody", "198.51.100.177"];
        for name in names {
            self.secrets.add("a server's name", name);
            self.greets(name.as_bytes()).await;
        }
        self.greets(MARK.repeat(500).as_bytes()).await;
        self.pings_are_acknowledged_that_nobody_sent().await;
        let long = format!("x-{MARK}: {}\r\n", MARK.repeat(1000));
        for head in [
            format!("GET /{MARK} HTTP/1.1\r\nhost: a\r\n{MARK}\r\n\r\n"),
            format!("{MARK} /\u{1} HTTP/9\r\n\r\n"),
            format!("GET / HTTP/1.1\r\nhost: a\r\n{long}\r\n"),
            format!("GET /{MARK}?{MARK} HTTP/1.1\r\nhost: {MARK}\r\nconnection: close\r\n\r\n"),
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {MARK}\r\nconnection: close\r\n\r\n"
            ),
        ] {
            let answer = self.raw(&head).await;
            // Of one that is refused before it was read, the answer may be lost on the way.
            let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(is_refused, "{head}: {answer}");
        }
        for header in [
            format!("{MARK}\r\n"),
            format!("PROXY TCP4 {MARK} {MARK} 1 2\r\n"),
        ] {
            let mut stream = self.proxy_connects().await;
            let _ = stream.write_all(header.as_bytes()).await;
            ends(&mut stream, &header).await;
        }
    }

    /// A handshake that asks for a server of this name, and goes no further.
    async fn greets(&self, name: &[u8]) {
        let mut stream = self.relay.connect_tcp().await.unwrap();
        stream.write_all(&client_hello(name)).await.unwrap();
        ends(&mut stream, "a greeting").await;
    }

    async fn pings_are_acknowledged_that_nobody_sent(&mut self) {
        let planted = &MARK.as_bytes()[..8];
        self.secrets.add("a ping", &MARK[..8]);
        let mut said = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
        let ping = |flags, payload: &[u8]| [&[0, 0, 8, 6, flags, 0, 0, 0, 0], payload].concat();
        for _ in 0..100 {
            said.extend(ping(1, planted));
        }
        // This one is answered when those before it have been read.
        said.extend(ping(0, b"question"));
        let mut stream = self.relay.connect(&[b"h2"]).await.unwrap();
        stream.write_all(&said).await.unwrap();
        hears(&mut stream, "question").await;
    }
}

/// The least that a TLS server reads as a ClientHello, with a name that need not be one.
fn client_hello(name: &[u8]) -> Vec<u8> {
    let host_name = [&[0], sized(name).as_slice()].concat();
    let server_name = [&[0, 0], sized(&sized(&host_name)).as_slice()].concat();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    // No session; one cipher suite; no compression.
    hello.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    hello.extend(sized(&server_name));
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let handshake = [&[1], &length[1..], &hello].concat();
    [&[22, 3, 1], sized(&handshake).as_slice()].concat()
}

/// With its length before it, in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

//! HTTP/2 by hand (RFC 9113), for a client that does what no library does.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::tls::PATIENCE;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What the other end sent.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A frame as it goes over the wire (section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    let head = [&len[1..], &[kind, flags], &stream.to_be_bytes()];
    [&head.concat(), payload].concat()
}

/// A field of a head, in letters and known to no table (RFC 7541 section 6.2.2).
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        // A length of 127 and more goes on in a second byte and a third.
        match text.len().checked_sub(0x7f) {
            None => field.push(text.len() as u8),
            Some(more) => field.extend([0x7f, more as u8 | 0x80, (more >> 7) as u8]),
        }
        field.extend(text.as_bytes());
    }
    field
}

/// The next frame, which must come.
pub(crate) async fn next(stream: &mut (impl AsyncRead + Unpin)) -> Frame {
    let mut head = [0; 9];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await;
    read.expect("a frame comes")
        .expect("the connection is open");
    let [a, b, c, kind, flags, s @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.unwrap();
    Frame {
        kind,
        flags,
        stream: u32::from_be_bytes(s),
        payload,
    }
}

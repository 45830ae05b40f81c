//! Requests over HTTP/2. A body is what its frames bring, however they and the bytes are cut, and
//! one of another length than was said is not whole. Whatever frames come, the connection goes on
//! or ends at once, and leaves no stream behind; and they are counted as who wrote them does.

#![cfg_attr(fuzzing, no_main)]

use std::time::Duration;

use mls_relay::edge::fuzzing::streams;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;
use tokio::time::timeout;

/// The size of the pieces; then a body, or frames.
pub(crate) fn run(data: &[u8]) {
    let Some((size, data)) = data.split_first() else {
        return;
    };
    let size = usize::from(*size).max(1);
    let body = &data[..data.len().min(BODY_LEN_MAX)];
    for missing in [None, Some(0), Some(1)] {
        let mut said = Said::default();
        let mut fields = vec![(":method", "POST"), (":path", "/first")];
        let length = missing.map(|missing| (body.len() + missing).to_string());
        fields.extend(length.iter().map(|length| ("content-length", &**length)));
        said.request(1, &fields, false);
        said.body(1, body, size);
        said.request(3, &[(":method", "GET"), (":path", "/next")], true);
        let mut expected = vec!["POST http://a/first None".to_owned()];
        expected.extend((missing != Some(1)).then(|| format!("{body:?}")));
        expected.extend(["GET http://a/next None".to_owned(), format!("{:?}", b"")]);
        expected.sort();
        let (heard, goes_on) = said.heard_by_the_relay(size);
        assert_eq!((heard, goes_on), (expected, true), "{missing:?}");
    }

    let mut said = Said::default();
    let mut rest = data;
    while let [kind, flags, stream, high, low, next @ ..] = rest {
        // Most frames are short, and some as long as any may be.
        let len = usize::from(u16::from_be_bytes([*high & 0x3f, *low]));
        let (payload, next) = next.split_at(len.min(next.len()));
        let shown = [payload, &vec![*low; len - payload.len()]].concat();
        said.frame(*kind, *flags, u32::from(*stream), &shown);
        rest = next;
    }
    said.heard_by_the_relay(size);
}

/// What fits the relay's windows with all that pads it.
const BODY_LEN_MAX: usize = 2048;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// What a client says (RFC 9113).
struct Said {
    bytes: Vec<u8>,
    /// Frames that count.
    count: u64,
}

impl Default for Said {
    fn default() -> Self {
        let mut said = Self {
            bytes: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            count: 0,
        };
        said.frame(SETTINGS, 0, 0, b"");
        said
    }
}

impl Said {
    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.bytes.extend_from_slice(&len[1..]);
        self.bytes.extend_from_slice(&[kind, flags]);
        self.bytes.extend_from_slice(&stream.to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self.count += u64::from(kind != DATA || payload.len() < 1024);
    }

    /// Its head; each field literally, and not to be remembered (RFC 7541 section 6.2.2).
    fn request(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let mut block = Vec::new();
        for (name, value) in [(":scheme", "http"), (":authority", "a")]
            .iter()
            .chain(fields)
        {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        let end = if ends { END_STREAM } else { 0 };
        self.frame(HEADERS, END_HEADERS | end, stream, &block);
    }

    /// In frames of this size, every other one padded; the end has one of its own.
    fn body(&mut self, stream: u32, body: &[u8], size: usize) {
        for (number, piece) in body.chunks(size).enumerate() {
            if number % 2 == 0 {
                self.frame(DATA, 0, stream, piece);
            } else {
                let padding = [0; 5];
                let padded = [&[5], piece, &padding].concat();
                self.frame(DATA, PADDED, stream, &padded);
            }
        }
        self.frame(DATA, END_STREAM, stream, b"");
    }

    /// What is heard of it, in pieces of this size; and whether the connection went on.
    fn heard_by_the_relay(mut self, size: usize) -> (Vec<String>, bool) {
        self.frame(PING, 0, 0, MARK);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let ((mut heard, counted), goes_on) = runtime.unwrap().block_on(async {
            let (near, far) = tokio::io::duplex(1 << 16);
            tokio::join!(streams(near), self.converse(far, size))
        });
        assert!(if goes_on {
            counted == self.count
        } else {
            counted <= self.count
        });
        heard.sort();
        (heard, goes_on)
    }

    /// Until the last is answered, or the relay says goodbye or hangs up.
    async fn converse(&self, far: DuplexStream, size: usize) -> bool {
        let (mut reading, mut writing) = tokio::io::split(far);
        let says = async {
            for piece in self.bytes.chunks(size) {
                // It may have heard enough.
                let _ = writing.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            std::future::pending().await
        };
        let hears = async {
            let mut is_leaving = false;
            loop {
                let mut head = [0; 9];
                if reading.read_exact(&mut head).await.is_err() {
                    return false;
                }
                let [high, middle, low, kind, flags, ..] = head;
                let len = u32::from_be_bytes([0, high, middle, low]);
                let mut payload = vec![0; len.try_into().unwrap()];
                if reading.read_exact(&mut payload).await.is_err() {
                    panic!("a frame breaks off");
                }
                is_leaving |= kind == GOAWAY;
                if kind == PING && flags == ACK && payload == MARK {
                    return !is_leaving;
                }
            }
        };
        let goes_on = async {
            tokio::select! {
                biased;
                goes_on = hears => goes_on,
                never = says => never,
            }
        };
        let goes_on = timeout(Duration::from_secs(1), goes_on).await;
        goes_on.expect("it answers, or ends")
    }
}

const MARK: &[u8] = b"the last";

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

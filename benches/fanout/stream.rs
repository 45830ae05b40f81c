//! Pure. What a subscriber receives, whoever it comes from, as the numbers of events.

use mls_relay_loadtest::load::tally::number_of;

/// How a server packs its events.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packing {
    /// One event is one WebSocket message.
    Messages,
    /// WebSocket messages are a stream of NATS' own protocol.
    Nats,
}

/// How an event tells its number.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Numbering {
    /// In its first ten digits: see [`payload`].
    Digits,
    /// In the message id of the relay's envelope.
    MessageId,
}

/// An event of `len` bytes that says its number.
pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = format!("{number:010}").into_bytes();
    bytes.resize(len.max(bytes.len()), b'x');
    bytes
}

/// Takes the bytes of one WebSocket connection, after its handshake.
#[derive(Debug)]
pub(crate) struct Stream {
    packing: Packing,
    numbering: Numbering,
    /// A frame of which only a part has come.
    frame: Vec<u8>,
    /// The same of NATS' protocol.
    line: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(packing: Packing, numbering: Numbering) -> Self {
        Self {
            packing,
            numbering,
            frame: Vec::new(),
            line: Vec::new(),
        }
    }

    /// Gives the number and length of every event that is whole. `false`: the server
    /// has said goodbye, or speaks in riddles.
    pub(crate) fn take(&mut self, bytes: &[u8], mut event: impl FnMut(usize, usize)) -> bool {
        let whole;
        let mut rest = if self.frame.is_empty() {
            bytes
        } else {
            self.frame.extend_from_slice(bytes);
            whole = std::mem::take(&mut self.frame);
            &whole
        };
        while let Some((opcode, payload, after)) = frame(rest) {
            rest = after;
            let goes_on = match (opcode, self.packing) {
                (CLOSE, _) => false,
                (PING | PONG, _) => true,
                (_, Packing::Messages) => {
                    if let Some(number) = number(self.numbering, payload) {
                        event(number, payload.len());
                    }
                    true
                }
                (_, Packing::Nats) => self.take_nats(payload, &mut event),
            };
            if !goes_on {
                return false;
            }
        }
        self.frame.extend_from_slice(rest);
        true
    }

    fn take_nats(&mut self, bytes: &[u8], event: &mut impl FnMut(usize, usize)) -> bool {
        self.line.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(len) = self.line[done..].windows(2).position(|w| w == b"\r\n") {
            let line = &self.line[done..done + len];
            let after = done + len + 2;
            if line.starts_with(b"-ERR") {
                return false;
            }
            if !line.starts_with(b"MSG ") {
                done = after;
                continue;
            }
            let words = std::str::from_utf8(line).unwrap_or_default();
            let Some(len) = words.rsplit(' ').next().and_then(|len| len.parse().ok()) else {
                return false;
            };
            let end: usize = after + len;
            if self.line.len() < end + 2 {
                break;
            }
            if let Some(number) = number(self.numbering, &self.line[after..end]) {
                event(number, len);
            }
            done = end + 2;
        }
        self.line.drain(..done);
        true
    }
}

/// The first frame of a server, if it is whole: opcode, payload, and what follows.
fn frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let (len, rest) = match second {
        126 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let (len, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*len), rest)
        }
        len => (u64::from(len), rest),
    };
    let (payload, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((first & 0x0f, payload, rest))
}

fn number(numbering: Numbering, payload: &[u8]) -> Option<usize> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    match numbering {
        Numbering::Digits => text(payload.get(..10)?)?.parse().ok(),
        Numbering::MessageId => {
            let at = payload
                .windows(MESSAGE_ID.len())
                .position(|w| w == MESSAGE_ID)?;
            let id = payload.get(at + MESSAGE_ID.len()..)?.get(..ULID_LEN)?;
            number_of(text(id)?)
        }
    }
}

/// The key in DAG-CBOR, and the head of a text of 26 characters.
const MESSAGE_ID: &[u8] = b"imessageId\x78\x1a";
const ULID_LEN: usize = 26;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

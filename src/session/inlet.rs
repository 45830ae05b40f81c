//! Counts the pieces that a client sends a message in.
//!
//! Tungstenite bounds a message's bytes, but gives nothing out before its last piece:
//! a client that sends empty pieces for ever would be heard by nobody and stopped by
//! no budget. So frame heads (RFC 6455 section 5.2) are watched as they come in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// The reading side of a stream, which fails when a message comes in too many pieces: at the
/// piece that is one too many, whatever came with it, so that all before it is heard.
pub(super) struct Inlet<S> {
    /// To write to.
    pub(super) stream: S,
    heads: Heads,
    fragments_max: u32,
}

impl<S> Inlet<S> {
    /// `begun` has been read already, and ends at a piece that is one too many; the rest is
    /// read from the stream.
    pub(super) fn new(stream: S, begun: &mut Vec<u8>, fragments_max: u32) -> Self {
        let mut heads = Heads::default();
        begun.truncate(heads.see(begun, fragments_max));
        Self {
            stream,
            heads,
            fragments_max,
        }
    }

    pub(super) fn is_torn_to_pieces(&self) -> bool {
        self.heads.fragments > self.fragments_max
    }
}

impl<S: AsyncRead + Unpin> Inlet<S> {
    /// Reads to its end what means nothing any more.
    pub(super) async fn discard(&mut self) {
        let mut waste = [0; 512];
        while matches!(self.stream.read(&mut waste).await, Ok(1..)) {}
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inlet<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let torn = || Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        if self.is_torn_to_pieces() {
            return torn();
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let came = buffer.filled().get(before..).unwrap_or_default();
        let most = self.fragments_max;
        let fitting = self.heads.see(came, most);
        if fitting == 0 && self.is_torn_to_pieces() {
            return torn();
        }
        buffer.set_filled(before + fitting);
        Poll::Ready(Ok(()))
    }
}

/// Where in a frame the last byte was, and how many frames the message has so far.
#[derive(Default)]
struct Heads {
    /// What is left of a mask and a payload.
    skip: u64,
    /// The length that the head tells, as far as it has come.
    length: u64,
    /// Bytes of the head that have come.
    seen: u8,
    /// Bytes of the head after its first two, which tell the length.
    more: u8,
    opcode: u8,
    is_masked: bool,
    fragments: u32,
}

impl Heads {
    /// Stops looking once there are more than `most`: how many bytes come before that.
    fn see(&mut self, all: &[u8], most: u32) -> usize {
        let mut bytes = all;
        while let Some((byte, rest)) = bytes.split_first() {
            if self.skip > 0 {
                let len = bytes
                    .len()
                    .min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= len as u64;
                bytes = bytes.get(len..).unwrap_or_default();
                continue;
            }
            self.see_head(*byte);
            if self.fragments > most {
                break;
            }
            bytes = rest;
        }
        all.len() - bytes.len()
    }

    fn see_head(&mut self, byte: u8) {
        match self.seen {
            0 => self.opcode = byte & 0x0f,
            1 => {
                self.is_masked = byte & 0x80 != 0;
                (self.length, self.more) = match byte & 0x7f {
                    126 => (0, 2),
                    127 => (0, 8),
                    length => (length.into(), 0),
                };
            }
            _ => self.length = self.length << 8 | u64::from(byte),
        }
        self.seen += 1;
        if self.seen < 2 + self.more {
            return;
        }
        let mask = if self.is_masked { 4 } else { 0 };
        self.skip = self.length.saturating_add(mask);
        self.seen = 0;
        match self.opcode {
            CONTINUATION => self.fragments = self.fragments.saturating_add(1),
            TEXT | BINARY => self.fragments = 1,
            // Control frames may come between the pieces, and have a budget.
            _ => {}
        }
    }
}

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame.
    fn frame(opcode: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![opcode];
        match len {
            0..126 => bytes.push(0x80 | len as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        // Mask and payload that look like heads, if anyone should take them for such.
        bytes.extend(vec![0; 4 + len]);
        bytes
    }

    /// What was counted, when the bytes come in pieces of `size`.
    fn fragments(bytes: &[u8], size: usize) -> u32 {
        let mut heads = Heads::default();
        for chunk in bytes.chunks(size) {
            assert_eq!(heads.see(chunk, 100), chunk.len());
        }
        heads.fragments
    }

    #[test]
    fn pieces_are_counted_wherever_the_bytes_are_cut() {
        let ping = 0x89;
        let message = [
            frame(TEXT, 3),
            frame(CONTINUATION, 0),
            frame(ping, 5),
            frame(CONTINUATION, 200),
            frame(0x80 | CONTINUATION, 70_000),
        ]
        .concat();
        for size in [1, 2, 3, 7, 64, 100_000] {
            assert_eq!(fragments(&message, size), 4, "in pieces of {size}");
        }
        let next = [message, frame(0x80 | BINARY, 9)].concat();
        assert_eq!(fragments(&next, 11), 1, "the next message starts over");
    }

    #[tokio::test]
    async fn what_came_with_the_handshake_belongs_to_the_first_frame() {
        // A payload that would be a head of an endless frame, and then too many pieces.
        let mut first = frame(TEXT, 10);
        let payload = first.len() - 10;
        first[payload..].copy_from_slice(&[0x80 | BINARY, 0x80 | 127, 0x7f, 9, 9, 9, 9, 9, 9, 9]);
        let rest = [&first[payload..], &frame(CONTINUATION, 0).repeat(9)].concat();
        first.truncate(payload);
        let mut inlet = Inlet::new(rest.as_slice(), &mut first, 5);
        // The payload, four pieces, and half the head of the one that is too many.
        assert_eq!(inlet.read(&mut [0; 256]).await.unwrap(), 10 + 4 * 6 + 1);
        let read = inlet.read(&mut [0; 256]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn one_piece_too_many_is_no_end_where_it_comes_byte_by_byte() {
        let pieces = [frame(TEXT, 0), frame(CONTINUATION, 0).repeat(9)].concat();
        let mut inlet = Inlet::new(pieces.as_slice(), &mut Vec::new(), 5);
        for _ in 0..5 * 6 + 1 {
            assert_eq!(inlet.read(&mut [0]).await.unwrap(), 1);
        }
        let read = inlet.read(&mut [0]).await;
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

//! Pure. Counts the frames that an HTTP/2 client sends (RFC 9113 section 4.1), as they come in.
//!
//! HTTP/2 itself takes as many as come: settings, pings, priorities and windows ask for
//! nothing that any rule counts, and each costs as much as it would in a request.

/// Where in a frame the last byte was.
pub(super) struct Frames {
    /// What is left of the preface, or of a payload.
    skip: usize,
    /// Bytes of the head that have come.
    seen: usize,
    length: usize,
    kind: u8,
}

impl Default for Frames {
    /// Before the first byte of a connection.
    fn default() -> Self {
        Self {
            skip: PREFACE_LEN,
            seen: 0,
            length: 0,
            kind: 0,
        }
    }
}

impl Frames {
    /// How many frames began in these bytes, but for those that bring much of a body.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> u64 {
        let mut small = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            let Some((byte, rest)) = bytes[skipped..].split_first() else {
                return small;
            };
            bytes = rest;
            small += u64::from(self.see_head(*byte));
        }
    }

    /// Whether a head ends here of a frame that counts.
    fn see_head(&mut self, byte: u8) -> bool {
        match self.seen {
            0..3 => self.length = self.length << 8 | usize::from(byte),
            3 => self.kind = byte,
            _ => {}
        }
        self.seen += 1;
        if self.seen < HEAD_LEN {
            return false;
        }
        let counts = self.kind != DATA || self.length < MUCH;
        (self.skip, self.seen, self.length) = (self.length, 0, 0);
        counts
    }
}

/// "PRI * HTTP/2.0", which a client says before its first frame (RFC 9113 section 3.4).
const PREFACE_LEN: usize = 24;
const HEAD_LEN: usize = 9;
const DATA: u8 = 0;
/// Of a body, which has bounds of its own.
const MUCH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, len: usize) -> Vec<u8> {
        let head = [&(len as u32).to_be_bytes()[1..], &[kind, 0, 0, 0, 0, 0]].concat();
        // A payload that looks like heads, if anyone should take it for such.
        [head, vec![0; len]].concat()
    }

    #[test]
    fn frames_are_counted_wherever_the_bytes_are_cut() {
        let all = [
            vec![b'P'; PREFACE_LEN],
            frame(PING, 8),
            frame(DATA, 70_000),
            frame(PING, 0),
            frame(DATA, 0),
            frame(DATA, 1023),
            frame(DATA, 1024),
            frame(PING, 3_000),
        ]
        .concat();
        for size in [1, 2, 3, 7, 9, 64, 100_000] {
            let mut frames = Frames::default();
            let counted: u64 = all.chunks(size).map(|chunk| frames.see(chunk)).sum();
            assert_eq!(counted, 5, "in pieces of {size}");
        }
    }
}

//! Pure. A place in the event stream: the dense sequence number, and the ULID
//! cursor that carries it together with a coarse time.

use serde::{Deserialize, Serialize, Serializer};

use super::{CoarseTime, unprintable};

/// The durable event sequence: dense, strictly growing in commit order over all
/// nodes, starting at 1 and below 2^53 (ATProto event streams). 0 is "before
/// everything".
#[derive(Clone, Copy, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Seq(u64);

unprintable!(Seq);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);
    /// No event will ever have a larger one.
    pub const LAST: Self = Self((1 << 53) - 1);

    pub fn new(value: u64) -> Self {
        Self(value)
    }

    pub fn get(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A client's place in the stream: a ULID whose 48 time bits are milliseconds
/// floored to 2 s and whose low 64 bits are the [`Seq`]. Sequence and time grow
/// together, so the text order of cursors is commit order.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cursor(u128);

unprintable!(Cursor);

/// Why a text is not a cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a cursor, the ULID of an event or its seq in decimal")]
pub struct CursorError;

impl Cursor {
    /// The cursor of the event with this number, which happened then.
    pub fn new(at: CoarseTime, seq: Seq) -> Self {
        let millis = u128::from(at.unix_seconds().unsigned_abs()) * 1000;
        Self(((millis & ((1 << 48) - 1)) << 80) | u128::from(seq.0))
    }

    /// Parses the ULID text, or a bare sequence number in decimal (whose time is
    /// then unknown, and zero).
    pub fn parse(input: &str) -> Result<Self, CursorError> {
        if input.len() == ULID_LEN {
            // 26 characters hold 130 bits; the library drops those above 128.
            if input.as_bytes().first() > Some(&b'7') {
                return Err(CursorError);
            }
            let ulid = ulid::Ulid::from_string(input).map_err(|_| CursorError)?;
            return Ok(Self(ulid.0));
        }
        if input.is_empty() || input.len() > SEQ_DIGITS_MAX {
            return Err(CursorError);
        }
        if !input.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CursorError);
        }
        let seq: u64 = input.parse().map_err(|_| CursorError)?;
        Ok(Self(u128::from(seq)))
    }

    /// The place in the stream. Any other ULID, as that of a message, is
    /// [`Seq::LAST`]: such a cursor was never given out.
    pub fn seq(self) -> Seq {
        let low = self.0 & ((1 << 80) - 1);
        u64::try_from(low).map_or(Seq::LAST, |seq| Seq(seq).min(Seq::LAST))
    }

    /// The coarse time in it.
    pub fn time(self) -> CoarseTime {
        let seconds = (self.0 >> 80) / 1000;
        // 48 bits of milliseconds.
        CoarseTime::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// The same time at another place: where nothing tells the time of that place.
    #[must_use]
    pub fn with_seq(self, seq: Seq) -> Self {
        Self((self.0 >> 80 << 80) | u128::from(seq.0))
    }

    /// The ULID text, for the wire and for Postgres only.
    pub fn expose(self) -> String {
        ulid::Ulid(self.0).to_string()
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

const ULID_LEN: usize = 26;
/// 2^53 has 16 digits.
const SEQ_DIGITS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_carries_its_seq_and_sorts_as_text() {
        let at = CoarseTime::from_unix_seconds(1_700_000_000);
        let first = Cursor::new(at, Seq::new(41));
        let second = Cursor::new(at, Seq::new(42));
        assert_eq!(Cursor::parse(&first.expose()).unwrap().seq(), Seq::new(41));
        assert!(first.expose() < second.expose());
        assert_eq!(Cursor::parse("42").unwrap().seq(), Seq::new(42));
    }

    #[test]
    fn a_stranger_ulid_is_a_place_in_the_future() {
        let cursor = Cursor::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        assert_eq!(cursor.seq(), Seq::LAST);
        let nearly = Cursor(u128::from(u64::MAX));
        assert_eq!(nearly.seq(), Seq::LAST);
        for bad in [
            "",
            "-1",
            "1 ",
            "01ARZ3NDEKTSV4RRFFQ69G5FA",
            "99999999999999999",
            // 130 bits, of which 128 are those of a cursor.
            "80000000000000000000000019",
            "ZZZZZZZZZZ0000000000000019",
        ] {
            assert_eq!(Cursor::parse(bad), Err(CursorError), "{bad}");
        }
    }
}

//! Pure. The TLS presentation language as MLS uses it (RFC 9420 section 2): a
//! reader that never copies, never panics and never looks past its end.

/// Why bytes are not the MLS structure they should be. Never echoes the bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MlsError {
    #[error("ends in the middle of an MLS structure")]
    Truncated,
    #[error("has bytes behind the end of the MLS structure")]
    Trailing,
    #[error("has padding of bytes other than zero")]
    Padding,
    #[error("has a vector whose length is not in its shortest form")]
    Length,
    #[error("has a vector of more than {0} items")]
    TooMany(usize),
    #[error("is not MLS 1.0")]
    Version,
    #[error("is not an MLSMessage of the kind that belongs here")]
    WireFormat,
    #[error("has {0} that RFC 9420 does not define")]
    Unknown(&'static str),
}

/// The rest of some bytes, read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Everything must have been read.
    pub(super) fn end(&self) -> Result<(), MlsError> {
        let is_read = self.0.is_empty();
        is_read.then_some(()).ok_or(MlsError::Trailing)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MlsError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(MlsError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, MlsError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, MlsError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, MlsError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, MlsError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The length of a vector (section 2.1.2): 1, 2 or 4 bytes by the two high
    /// bits, in the shortest form only.
    fn length(&mut self) -> Result<usize, MlsError> {
        let first = self.u8()?;
        let (more, least) = match first >> 6 {
            0 => (0, 0),
            1 => (1, 1 << 6),
            2 => (3, 1 << 14),
            _ => return Err(MlsError::Length),
        };
        let mut value = u32::from(first & 0x3f);
        for _ in 0..more {
            value = (value << 8) | u32::from(self.u8()?);
        }
        if value < least {
            return Err(MlsError::Length);
        }
        usize::try_from(value).map_err(|_| MlsError::Length)
    }

    /// `opaque x<V>`.
    pub(super) fn opaque(&mut self) -> Result<&'a [u8], MlsError> {
        let length = self.length()?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(MlsError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    /// `T x<V>`: calls `item` until the vector's bytes are used up.
    pub(super) fn vector(
        &mut self,
        most: usize,
        mut item: impl FnMut(&mut Self) -> Result<(), MlsError>,
    ) -> Result<(), MlsError> {
        let mut inner = Self(self.opaque()?);
        for _ in 0..most {
            if inner.0.is_empty() {
                return Ok(());
            }
            item(&mut inner)?;
        }
        inner.end().map_err(|_| MlsError::TooMany(most))
    }

    /// `optional<T>`: an octet 0 or 1, then the value.
    pub(super) fn optional<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, MlsError>,
    ) -> Result<Option<T>, MlsError> {
        match self.u8()? {
            0 => Ok(None),
            1 => value(self).map(Some),
            _ => Err(MlsError::Unknown("a presence octet")),
        }
    }

    /// Reads something and also returns the bytes it was read from.
    pub(super) fn spanned<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, MlsError>,
    ) -> Result<(T, &'a [u8]), MlsError> {
        let before = self.0;
        let value = read(self)?;
        let length = before.len().saturating_sub(self.0.len());
        let (span, _) = before.split_at_checked(length).ok_or(MlsError::Truncated)?;
        Ok((value, span))
    }

    /// `ProtocolVersion`: only `mls10` exists.
    pub(super) fn version(&mut self) -> Result<(), MlsError> {
        match self.u16()? {
            VERSION_MLS10 => Ok(()),
            _ => Err(MlsError::Version),
        }
    }

    /// `Extension extensions<V>`: calls `each` with a type and its data.
    pub(super) fn extensions(
        &mut self,
        mut each: impl FnMut(u16, &'a [u8]),
    ) -> Result<(), MlsError> {
        self.vector(EXTENSIONS_MAX, |reader| {
            let kind = reader.u16()?;
            each(kind, reader.opaque()?);
            Ok(())
        })
    }
}

pub(super) const VERSION_MLS10: u16 = 1;
/// Real leaves and groups carry a handful.
const EXTENSIONS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_examples_of_the_rfc() {
        // RFC 9420 section 2.1.2, table of encodings.
        let length = |bytes: &[u8]| Reader::new(bytes).length();
        assert_eq!(length(&[0x25]), Ok(37));
        assert_eq!(length(&[0x7b, 0xbd]), Ok(15293));
        assert_eq!(length(&[0x9d, 0x7f, 0x3e, 0x7d]), Ok(494_878_333));
        assert_eq!(length(&[0x40, 0x25]), Err(MlsError::Length));
        assert_eq!(length(&[0x80, 0, 0x25, 0]), Err(MlsError::Length));
        assert_eq!(length(&[0xc0, 0, 0, 0, 0, 0, 0, 0]), Err(MlsError::Length));
        assert_eq!(length(&[0x40]), Err(MlsError::Truncated));
        assert_eq!(length(&[]), Err(MlsError::Truncated));
    }

    #[test]
    fn a_vector_is_bounded_and_used_up() {
        let bytes = [3, 1, 2, 3];
        let mut seen = Vec::new();
        let read = Reader::new(&bytes).vector(3, |reader| {
            seen.push(reader.u8()?);
            Ok(())
        });
        assert_eq!((read, seen), (Ok(()), vec![1, 2, 3]));
        let too_many = Reader::new(&bytes).vector(2, |reader| reader.u8().map(drop));
        assert_eq!(too_many, Err(MlsError::TooMany(2)));
        let ragged = Reader::new(&bytes).vector(3, |reader| reader.u16().map(drop));
        assert_eq!(ragged, Err(MlsError::Truncated));
    }
}

//! Pure. Padding buckets: the only sizes a message may have, so that its size says
//! little about what is in it.

use serde::de::{self, Deserialize, Deserializer};

/// The largest message.
pub const MESSAGE_BYTES_MAX: usize = 10 << 20;

/// A size that is a bucket: 512, 1024, 2048, 4096, 8192, or a multiple of 8192 up
/// to [`MESSAGE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PaddedSize(usize);

impl PaddedSize {
    /// `None` if so many bytes are no bucket: `paddedSize` in the lexicon of `sendMessage`.
    pub fn new(size: usize) -> Option<Self> {
        let small = matches!(size, 512 | 1024 | 2048 | 4096);
        let large = size > 0 && size.is_multiple_of(STEP) && size <= MESSAGE_BYTES_MAX;
        (small || large).then_some(Self(size))
    }

    /// In bytes.
    pub fn get(self) -> usize {
        self.0
    }
}

impl<'de> Deserialize<'de> for PaddedSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let size = u64::deserialize(deserializer)?;
        usize::try_from(size)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| {
                de::Error::custom(
                    "must be 512, 1024, 2048, 4096 or a multiple of 8192 up to 10485760",
                )
            })
    }
}

const STEP: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_buckets_are_sizes() {
        for good in [512, 1024, 2048, 4096, 8192, 16_384, MESSAGE_BYTES_MAX] {
            assert_eq!(PaddedSize::new(good).map(PaddedSize::get), Some(good));
        }
        for bad in [0, 1, 511, 513, 6144, 8191, 12_288, MESSAGE_BYTES_MAX + STEP] {
            assert_eq!(PaddedSize::new(bad), None, "{bad}");
        }
    }
}

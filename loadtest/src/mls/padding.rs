//! Pure. Transport padding: an MLSMessage followed by zeros up to a bucket, so
//! that its length says little about what was written.

/// The buckets below the first multiple of [`STEP`] that stands for itself.
const SMALL: [usize; 5] = [512, 1024, 2048, 4096, 8192];

/// Above the small buckets, lengths are multiples of this.
const STEP: usize = 8192;

/// The longest padded message the relay takes: 10 MiB.
pub const LARGEST: usize = 10 * 1024 * 1024;

/// The smallest bucket that holds `len` bytes; none if that is above [`LARGEST`].
pub fn bucket(len: usize) -> Option<usize> {
    let bucket = SMALL
        .into_iter()
        .find(|bucket| len <= *bucket)
        .unwrap_or_else(|| len.div_ceil(STEP).saturating_mul(STEP));
    (bucket <= LARGEST).then_some(bucket)
}

/// Fills the message with zeros up to its bucket; gives it back unpadded when
/// there is no bucket so large.
pub fn pad(mut message: Vec<u8>) -> Result<Vec<u8>, Vec<u8>> {
    match bucket(message.len()) {
        Some(bucket) => {
            message.resize(bucket, 0);
            Ok(message)
        }
        None => Err(message),
    }
}

/// What follows the MLSMessage must be padding and nothing else.
pub fn is_padding(rest: &[u8]) -> bool {
    rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_the_smallest_bucket_that_holds_it() {
        let cases = [
            (0, 512),
            (1, 512),
            (512, 512),
            (513, 1024),
            (4097, 8192),
            (8192, 8192),
            (8193, 16_384),
            (16_385, 24_576),
            (LARGEST, LARGEST),
        ];
        for (len, expected) in cases {
            assert_eq!(bucket(len), Some(expected), "{len}");
        }
        assert_eq!(bucket(LARGEST + 1), None);
    }

    #[test]
    fn padding_keeps_the_message_and_adds_only_zeros() {
        let padded = pad(vec![7; 600]).unwrap();
        assert_eq!(padded.len(), 1024);
        assert_eq!(padded[..600], [7; 600]);
        assert!(is_padding(&padded[600..]));
        assert!(!is_padding(&padded[599..]));
    }

    #[test]
    fn a_message_without_a_bucket_comes_back_unchanged() {
        let message = vec![1; LARGEST + 1];
        assert_eq!(pad(message).unwrap_err().len(), LARGEST + 1);
    }
}

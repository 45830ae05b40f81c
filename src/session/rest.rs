//! What is left to write of some frames, back to back, in as few writes as a stream
//! takes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// See the module.
pub(super) struct Rest<'a, T> {
    frames: &'a [T],
    bytes: fn(&T) -> &[u8],
    /// How much of the first frame is written.
    written: usize,
    /// How much of all frames is written.
    taken: u64,
}

impl<'a, T> Rest<'a, T> {
    pub(super) fn new(frames: &'a [T], bytes: fn(&T) -> &[u8]) -> Self {
        Self {
            frames,
            bytes,
            written: 0,
            taken: 0,
        }
    }

    /// How many bytes the stream has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn poll_write<S: AsyncWrite>(
        &mut self,
        mut stream: Pin<&mut S>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.skip(0);
        while let Some((first, more)) = self.frames.split_first() {
            // On the stack of this poll only, not in the session.
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            slices[0] = IoSlice::new((self.bytes)(first).get(self.written..).unwrap_or_default());
            for (slice, frame) in slices.iter_mut().skip(1).zip(more) {
                *slice = IoSlice::new((self.bytes)(frame));
            }
            let slices = slices.get(..self.frames.len()).unwrap_or(&slices);
            match ready!(stream.as_mut().poll_write_vectored(context, slices))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.skip(len),
            }
        }
        stream.poll_flush(context)
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let all = self.frames.iter().flat_map(|frame| (self.bytes)(frame));
        all.skip(self.written).copied().collect()
    }

    /// Goes on behind `len` bytes, at a frame that is not empty.
    fn skip(&mut self, mut len: usize) {
        self.taken += len as u64;
        while let Some((first, rest)) = self.frames.split_first() {
            let left = (self.bytes)(first).len() - self.written;
            if len < left {
                self.written += len;
                return;
            }
            len -= left;
            self.written = 0;
            self.frames = rest;
        }
    }
}

/// As many frames as the hub's queue gives at once.
const SLICES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that takes so much at a time, from several slices.
    struct Taking {
        most: usize,
        taken: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Taking {
        fn poll_write(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(context, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            let len = all.len().min(self.most);
            self.taken.extend(&all[..len]);
            self.writes += 1;
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes these to a stream that takes so much at a time.
    fn write(frames: &[Vec<u8>], most: usize) -> Taking {
        let mut stream = Taking {
            most,
            taken: Vec::new(),
            writes: 0,
        };
        let context = &mut Context::from_waker(Waker::noop());
        let done = Rest::new(frames, |frame| frame).poll_write(Pin::new(&mut stream), context);
        assert!(matches!(done, Poll::Ready(Ok(()))));
        assert_eq!(stream.taken, frames.concat());
        stream
    }

    #[test]
    fn frames_survive_a_stream_that_takes_little_at_a_time() {
        let frames: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; usize::from(n % 9)]).collect();
        write(&frames, 7);
        // Events without a form in this framing.
        write(&[Vec::new(), Vec::new()], 7);
    }

    #[test]
    fn what_the_hub_gives_at_once_is_one_write() {
        let frames: Vec<Vec<u8>> = (0..64).map(|n| vec![n; 9]).collect();
        assert_eq!(write(&frames, usize::MAX).writes, 1);
    }
}

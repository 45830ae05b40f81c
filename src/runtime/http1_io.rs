//! A connection as hyper has it while it speaks HTTP/1.1 there.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use super::{KernelPatience, Transport};

/// Whoever takes the connection over after an upgrade gets it back by this name.
pub(crate) struct Http1Io {
    io: TokioIo<Transport>,
    reword: Reword,
    /// The rest of what was said in other words.
    unsent: Bytes,
    patience: KernelPatience,
}

/// What to say instead of something that is written at once; `None`: that.
pub(crate) type Reword = fn(&[u8]) -> Option<Bytes>;

impl Http1Io {
    pub(crate) fn new(stream: Transport, reword: Reword, patience: KernelPatience) -> Self {
        Self {
            io: TokioIo::new(stream),
            reword,
            unsent: Bytes::new(),
            patience,
        }
    }

    pub(crate) fn into_inner(self) -> Transport {
        self.io.into_inner()
    }

    /// Takes what is to be said in other words, all of it; `None` if that is not needed.
    fn reword(&mut self, said: &[u8]) -> Option<usize> {
        self.unsent = (self.reword)(said)?;
        Some(said.len())
    }

    fn poll_unsent(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(context, &self.unsent);
            match ready!(self.note(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                len => self.unsent.advance(len),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn note<T>(&self, done: Poll<T>) -> Poll<T> {
        let socket = self.io.inner().socket();
        self.patience.note_write(socket, done.is_pending());
        done
    }
}

impl Read for Http1Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, into)
    }
}

impl Write for Http1Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices
            && let Some(taken) = self.reword(only)
        {
            // Whoever writes flushes.
            return Poll::Ready(Ok(taken));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

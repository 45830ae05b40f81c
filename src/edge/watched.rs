//! A stream of which is seen what is read, and, whenever it is written to, whether it has room.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::runtime::Duplex;

pub(super) struct Watched<S, R, W> {
    stream: S,
    read: R,
    write: W,
}

impl<S, R, W: Fn(&S, bool)> Watched<S, R, W> {
    /// Asks `read` whether what has come may be heard; and tells `write`, each time that
    /// something was to be written, whether it found no room.
    pub(super) fn new(stream: S, read: R, write: W) -> Self {
        Self {
            stream,
            read,
            write,
        }
    }

    fn note<T>(&self, done: Poll<T>) -> Poll<T> {
        (self.write)(&self.stream, done.is_pending());
        done
    }
}

impl<R, W> Duplex for Watched<TcpStream, R, W>
where
    Self: AsyncRead + AsyncWrite + Send + Unpin,
{
    fn socket(&self) -> Option<&TcpStream> {
        Some(&self.stream)
    }
}

impl<S, R, W> AsyncRead for Watched<S, R, W>
where
    S: AsyncRead + Unpin,
    R: FnMut(&[u8]) -> bool + Unpin,
    W: Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let came = into.filled().get(before..).unwrap_or_default();
        Poll::Ready(match (self.read)(came) {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

impl<S, R, W> AsyncWrite for Watched<S, R, W>
where
    S: AsyncWrite + Unpin,
    R: Unpin,
    W: Fn(&S, bool) + Unpin,
{
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

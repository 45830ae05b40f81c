//! tungstenite's protocol speaks over blocking streams; this lends it one that waits
//! elsewhere: where it would block, the task is woken when there is more.

use std::io::{self, ErrorKind, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inlet::Inlet;
use crate::runtime::Transport;

/// A stream for the length of one poll.
pub(super) struct Bridge<'a, 'b> {
    inlet: &'a mut Inlet<Transport>,
    context: &'a mut Context<'b>,
}

impl<'a, 'b> Bridge<'a, 'b> {
    pub(super) fn new(inlet: &'a mut Inlet<Transport>, context: &'a mut Context<'b>) -> Self {
        Self { inlet, context }
    }
}

impl Read for Bridge<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut into = ReadBuf::new(into);
        ready(Pin::new(&mut *self.inlet).poll_read(self.context, &mut into))?;
        Ok(into.filled().len())
    }
}

impl Write for Bridge<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        ready(Pin::new(&mut self.inlet.stream).poll_write(self.context, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        ready(Pin::new(&mut self.inlet.stream).poll_flush(self.context))
    }
}

fn ready<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

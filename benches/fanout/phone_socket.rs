//! A subscriber's socket that knows when the kernel had what is read from it. A phone has a
//! processor to itself and these thousand share one, so that the last to be read would
//! wait for the reading of all the others, which is no delay of the server's.

use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use nix::cmsg_space;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use nix::sys::time::TimeSpec;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub(crate) struct PhoneSocket {
    tcp: TcpStream,
    /// What the kernel says beside the bytes.
    control: Vec<u8>,
    came: SystemTime,
}

impl PhoneSocket {
    pub(crate) fn new(tcp: TcpStream) -> io::Result<Self> {
        setsockopt(&tcp, ReceiveTimestampns, &true)?;
        Ok(Self {
            tcp,
            control: cmsg_space!(TimeSpec),
            came: SystemTime::UNIX_EPOCH,
        })
    }

    /// When the last bytes that were read had come to this socket.
    pub(crate) fn came(&self) -> SystemTime {
        self.came
    }
}

impl AsyncRead for PhoneSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        free: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            ready!(this.tcp.poll_read_ready(context))?;
            let room = free.initialize_unfilled();
            let wanted = room.len();
            let (tcp, control, came) = (&this.tcp, &mut this.control, &mut this.came);
            let received = tcp.try_io(Interest::READABLE, || receive(tcp, room, control, came));
            match received {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(len) => {
                    if len < wanted {
                        // There is no more: asking again would only tell so.
                        let nothing = || -> io::Result<()> { Err(ErrorKind::WouldBlock.into()) };
                        let _ = tcp.try_io(Interest::READABLE, nothing);
                    }
                    free.advance(len);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for PhoneSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Reads, and takes the kernel's note of when the last of it came.
fn receive(
    tcp: &TcpStream,
    room: &mut [u8],
    control: &mut [u8],
    came: &mut SystemTime,
) -> io::Result<usize> {
    let mut room = [IoSliceMut::new(room)];
    let received = recvmsg::<()>(tcp.as_raw_fd(), &mut room, Some(control), MsgFlags::empty())?;
    for note in received.cmsgs()? {
        if let ControlMessageOwned::ScmTimestampns(at) = note {
            *came = SystemTime::UNIX_EPOCH + Duration::from(at);
        }
    }
    Ok(received.bytes)
}

//! The one type behind which every connection looks the same.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A stream of bytes both ways: TLS, plain TCP, or one stream of HTTP/2.
///
/// The edge hands every connection to hyper as this, so that whoever takes it over
/// after an upgrade gets it back by this name, with nothing of HTTP around it.
pub(crate) type Transport = Box<dyn Duplex>;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {
    /// What carries it, if that carries nothing else.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// One stream of several.
impl<T> Duplex for TokioIo<T> where TokioIo<T>: AsyncRead + AsyncWrite + Send + Unpin {}

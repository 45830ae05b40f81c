//! The one type behind which every connection looks the same.

use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes both ways: TLS, plain TCP, or one stream of HTTP/2.
///
/// The edge hands every connection to hyper as this, so that whoever takes it over
/// after an upgrade gets it back by this name, with nothing of HTTP around it.
pub(crate) type Transport = Box<dyn Duplex>;

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

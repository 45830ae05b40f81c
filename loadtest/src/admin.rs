//! What a relay tells its operators, on the listener that is theirs.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Its metrics are some tens of kilobytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// Status and body of one GET. Give it a deadline.
pub(crate) async fn get(
    admin: SocketAddr,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn Error + Send + Sync>> {
    let stream = TokioIo::new(TcpStream::connect(admin).await?);
    let (mut sender, driver) = http1::handshake(stream).await?;
    tokio::spawn(driver);
    let request = Request::get(path)
        .header(HOST, admin.to_string())
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    Ok((status, body.collect().await?.to_bytes()))
}

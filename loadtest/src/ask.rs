//! One GET that needs no token, on a connection of its own.

use std::error::Error;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::join;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::relay::Relay;

/// The metrics of a relay are some tens of kilobytes.
const LONGEST_ANSWER: usize = 4 << 20;

/// No connection, no HTTP, or an answer without end.
pub type AskError = Box<dyn Error + Send + Sync>;

/// What a relay tells its operators, on the listener that is theirs: status and body. Give it
/// a deadline.
pub async fn admin(admin: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = TcpStream::connect(admin).await?;
    get(stream, "admin", path).await
}

/// What a metric of a relay stands at, by its name and all its labels; none if it has counted
/// nothing there yet.
pub async fn figure(admin: SocketAddr, metric: &str) -> Result<Option<u64>, AskError> {
    let (_, metrics) = self::admin(admin, "/metrics").await?;
    Ok(read(std::str::from_utf8(&metrics)?, metric))
}

fn read(metrics: &str, metric: &str) -> Option<u64> {
    let mut lines = metrics.lines();
    let figure = lines.find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '))?;
    figure.parse().ok()
}

/// The same of what it tells everyone.
pub(crate) async fn public(relay: &Relay, path: &str) -> Result<(StatusCode, Bytes), AskError> {
    let stream = relay.connect(&[b"http/1.1"]).await?;
    get(stream, &relay.authority(), path).await
}

/// The same of whoever is at the other end.
pub async fn get<S>(stream: S, host: &str, path: &str) -> Result<(StatusCode, Bytes), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, host);
    let request = request.body(Empty::<Bytes>::new())?;
    let exchange = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER);
        Ok((status, body.collect().await?.to_bytes()))
    };
    // In one task: on two threads, a request that meets the end of its connection may wait for ever.
    join(exchange, driver).await.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_found_among_others_by_all_its_labels() {
        let metrics = "\
            # TYPE overflows_total counter\n\
            overflows_total 7\n\
            closed_total{reason=\"Normal\"} 9\n\
            closed_total{reason=\"Slow\"} 2\n";
        for (metric, figure) in [
            ("overflows_total", Some(7)),
            ("closed_total{reason=\"Slow\"}", Some(2)),
            ("closed_total", None),
        ] {
            assert_eq!(read(metrics, metric), figure, "{metric}");
        }
    }
}

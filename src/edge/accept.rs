//! The accept loop. It never dies of what a peer does.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::error::EdgeError;
use super::listeners::{Entrance, Security};
use super::server::Server;
use crate::runtime::survive;

/// `key` is the setting that names the address, for whoever must name another.
pub(super) fn bind(address: SocketAddr, key: &'static str) -> Result<TcpListener, EdgeError> {
    listen(address).map_err(|source| EdgeError::Bind {
        address,
        key,
        source,
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until the drain begins. The listening socket closes with it.
pub(super) async fn run(listener: TcpListener, server: Arc<Server>, security: Security) {
    let server = &server;
    // A panic over a connection ends that one.
    let take = |(stream, peer)| survive(async move { take(stream, peer, server, security) });
    let mut draining = pin!(server.shutdown.draining());
    loop {
        // Draining comes first, so that a flood of arrivals cannot hold it up.
        let arrived = tokio::select! {
            biased;
            () = draining.as_mut() => break,
            arrived = next(&listener) => arrived,
        };
        take(arrived).await;
    }
    match waiting(listener) {
        Ok(found) => {
            for arrived in found {
                take(arrived).await;
            }
        }
        Err(error) => tracing::warn!(%error, "cannot accept the last arrivals"),
    }
}

/// The next connection, whatever becomes of others.
pub(super) async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        let error = match listener.accept().await {
            Ok(arrived) => return arrived,
            Err(error) => error,
        };
        metrics::counter!("relay_edge_accept_errors_total").increment(1);
        tracing::warn!(%error, "cannot accept");
        if !is_of_one_connection(&error) {
            // Out of descriptors or memory: only time gives some back.
            tokio::time::sleep(EXHAUSTED_PAUSE).await;
        }
    }
}

/// One connection goes its way, if it may.
fn take(stream: TcpStream, peer: SocketAddr, server: &Arc<Server>, security: Security) {
    metrics::counter!("relay_edge_connections_total").increment(1);
    let entrance = Entrance::of(security, &server.settings.load());
    // Refused before any cryptography: closing is all it costs.
    if let Some(permit) = server.admit(peer, entrance) {
        let served = Arc::clone(server).serve(stream, (peer, entrance), permit);
        server.shutdown.spawn(served);
    }
}

/// Whom the kernel has connected on our behalf: closing the socket would reset those,
/// and a balancer has passed their first bytes on already.
fn waiting(listener: TcpListener) -> io::Result<Vec<(TcpStream, SocketAddr)>> {
    // As few as possible more; Linux takes a second `listen` as the new bound.
    let _ = rustix::net::listen(&listener, 0);
    // Asked directly: the runtime may not have heard yet that there is somebody.
    let listener = listener.into_std()?;
    let mut found = Vec::new();
    while let Ok((stream, peer)) = listener.accept() {
        stream.set_nonblocking(true)?;
        found.push((TcpStream::from_std(stream)?, peer));
    }
    Ok(found)
}

/// The peer left between its SYN and our accept; the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

/// The kernel's own bound, `net.core.somaxconn`, is the lower one.
const BACKLOG: u32 = i32::MAX.cast_unsigned();

/// Soon enough to go on, and no flood in the log.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

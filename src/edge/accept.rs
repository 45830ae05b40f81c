//! The accept loop. It never dies of what a peer does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};

use super::error::EdgeError;
use super::listeners::Entrance;
use super::server::Server;
use crate::runtime::Shutdown;

pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, EdgeError> {
    listen(address).map_err(|source| EdgeError::Bind { address, source })
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
pub(super) async fn run(
    listener: TcpListener,
    server: Arc<Server>,
    entrance: Entrance,
    shutdown: Shutdown,
) {
    loop {
        // Draining comes first, so that a flood of arrivals cannot hold it up.
        let accepted = tokio::select! {
            biased;
            () = shutdown.draining() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                metrics::counter!("relay_edge_connections_total").increment(1);
                // Refused before any cryptography: closing is all it costs.
                if let Some(permit) = server.admit(peer, entrance) {
                    shutdown.spawn(Arc::clone(&server).serve(stream, (peer, entrance), permit));
                }
            }
            Err(error) => {
                metrics::counter!("relay_edge_accept_errors_total").increment(1);
                tracing::warn!(kind = ?error.kind(), code = error.raw_os_error(), "cannot accept");
                if !is_of_one_connection(&error) {
                    // Out of descriptors or memory: only time gives some back.
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
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

/// The kernel caps it at `net.core.somaxconn` (4096 on current Linux).
const BACKLOG: u32 = 4096;

const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

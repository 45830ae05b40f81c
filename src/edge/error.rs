//! Pure. What can keep the edge from serving. None of it reaches a peer.

use std::io;
use std::net::SocketAddr;

/// What an operator reads when a start fails for it.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {address}, which {key} names{}", hint(source))]
    Bind {
        address: SocketAddr,
        /// The setting, and its variable.
        key: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the listening socket is broken")]
    Listener(#[source] io::Error),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": it is taken; is another relay running?",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need the right to bind them",
        _ => "",
    }
}

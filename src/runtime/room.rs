//! Sockets that have no room for more now.

use tokio::net::TcpStream;

/// Whoever waits for room in a socket has a patience of its own: from here on the kernel's does
/// not count. To that (`TCP_USER_TIMEOUT`) a client that takes little by little stands still,
/// for as long as its window opens by less than what waits, or losses are being made good;
/// behind a proxy all that are slow look so.
pub(crate) fn wait_for_room(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, 0);
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

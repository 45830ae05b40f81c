//! How long the kernel lets the other end of a socket take nothing (`TCP_USER_TIMEOUT`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

/// Whoever waits for room in a socket has a patience of its own: from here on the kernel's does
/// not count. To that (`TCP_USER_TIMEOUT`) a client that takes little by little stands still,
/// for as long as its window opens by less than what waits, or losses are being made good;
/// behind a proxy all that are slow look so.
pub(crate) fn wait_for_room(socket: &TcpStream) {
    set_user_timeout(socket, 0);
}

/// In milliseconds; 0 for the system's own quarter of an hour.
pub(crate) fn set_user_timeout(socket: &TcpStream, millis: u32) {
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(socket, millis);
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, millis);
}

/// The kernel's patience with the client of one connection, as whoever answers it wants it: for a
/// stream whose client never says anything, nothing else tells that it is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct KernelPatience(Arc<AtomicU32>);

impl KernelPatience {
    /// What is written from now on must be acknowledged in this time.
    pub(crate) fn limit_to(&self, patience: Duration) {
        let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
        let wanted = millis.clamp(1, SLOW - 1);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |was| {
                (was != SLOW).then_some(wanted)
            });
    }

    /// Something was to be written: whether it found no room. From then on the kernel has no say.
    pub(crate) fn note_write(&self, socket: Option<&TcpStream>, is_blocked: bool) {
        if is_blocked {
            self.0.store(SLOW, Ordering::Relaxed);
            return;
        }
        let wanted = self.0.load(Ordering::Relaxed);
        if wanted != AS_IT_IS
            && wanted != SLOW
            && let Some(socket) = socket
        {
            set_user_timeout(socket, wanted);
            self.0.store(AS_IT_IS, Ordering::Relaxed);
        }
    }
}

const AS_IT_IS: u32 = 0;
/// The client is one of those whom the kernel takes for gone.
const SLOW: u32 = u32::MAX;

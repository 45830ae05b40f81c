//! TCP as this edge uses it: nothing waits longer than it must.

use std::time::Duration;

use tokio::net::TcpStream;

/// Failing here costs latency only, or a connection that is given up late or early.
pub(super) fn tune(stream: &TcpStream, stall: Duration) {
    // Frames are small and each one is waited for.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        let stall = u32::try_from(stall.as_millis()).unwrap_or(u32::MAX);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, stall);
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX);
    }
}

/// What the kernel takes that is not on its way yet. It would take megabytes, and whatever
/// is written next queues behind them: a ping of HTTP/2, whose answer has its time, comes
/// to a slow client when that time is over.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 64 * 1024;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn little_queues_in_the_kernel_before_what_is_said_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (stream, _) = listener.accept().await.unwrap();
        tune(&stream, Duration::from_secs(30));
        let unsent = socket2::SockRef::from(&stream).tcp_notsent_lowat().unwrap();
        assert_eq!(unsent, UNSENT_MAX);
        assert_eq!(
            rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(),
            30_000
        );
    }
}

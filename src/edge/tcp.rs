//! TCP as this edge uses it: nothing waits longer than it must.

use std::time::Duration;

use tokio::net::TcpStream;

use super::watched::Watched;
use crate::runtime::{Duplex, set_user_timeout, wait_for_room};

/// Failing here costs latency only, or a connection that is given up late or early.
pub(super) fn tune(stream: &TcpStream, stall: Duration) {
    // Frames are small and each one is waited for.
    let _ = stream.set_nodelay(true);
    let millis = u32::try_from(stall.as_millis()).unwrap_or(u32::MAX);
    set_user_timeout(stream, millis);
    #[cfg(target_os = "linux")]
    {
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_MAX);
        // An event is a packet or two. Where packets are lost, so are those that repeat it, and
        // each would wait twice as long as the one before; the first six wait alike.
        let _ = rustix::net::sockopt::set_tcp_thin_linear_timeouts(stream, true);
    }
}

/// What the kernel takes that is not on its way yet, and then as much as it sends at once. It
/// would take megabytes, and whatever is written next queues behind them: a ping of HTTP/2,
/// whose answer has its time, comes to a slow client when that time is over; and whether the
/// client takes anything shows once the half of it has left.
#[cfg(target_os = "linux")]
const UNSENT_MAX: u32 = 16 * 1024;

/// A connection without TLS.
pub(super) fn plain(stream: TcpStream) -> impl Duplex {
    let watch = |stream: &TcpStream, is_blocked| {
        if is_blocked {
            wait_for_room(stream);
        }
    };
    Watched::new(stream, |_: &[u8]| true, watch)
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::Read;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Ours, and that of a client with a small window.
    async fn pair() -> (TcpStream, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let client = client.unwrap();
        client.set_recv_buffer_size(4096).unwrap();
        let address = listener.local_addr().unwrap();
        client.connect(&address.into()).unwrap();
        (listener.accept().await.unwrap().0, client.into())
    }

    #[tokio::test]
    async fn a_client_that_takes_little_by_little_is_not_given_up_by_the_kernel() {
        let (stream, mut client) = pair().await;
        tune(&stream, Duration::from_secs(1));
        let patience = Some(Duration::from_secs(10));
        client.set_read_timeout(patience).unwrap();
        let reading = std::thread::spawn(move || {
            let (mut heard, mut piece) = (0, [0; 1 << 10]);
            // 10 KiB a second, in several of the kernel's patiences.
            while heard < 40 << 10 {
                let len = client.read(&mut piece).unwrap();
                assert_ne!(len, 0, "given up after {heard} bytes");
                heard += len;
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let writing = async {
            let mut stream = plain(stream);
            while stream.write_all(&[0; 16 << 10]).await.is_ok() {}
            // The reader says whether that was in order.
            std::future::pending().await
        };
        tokio::select! {
            () = writing => {}
            read = tokio::task::spawn_blocking(|| reading.join()) => read.unwrap().unwrap(),
        }
    }

    #[tokio::test]
    async fn the_kernel_keeps_little_and_repeats_what_was_lost_soon() {
        let (stream, _client) = pair().await;
        tune(&stream, Duration::from_secs(30));
        let unsent = socket2::SockRef::from(&stream).tcp_notsent_lowat().unwrap();
        assert_eq!(unsent, UNSENT_MAX);
        assert_eq!(
            rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(),
            30_000
        );
        assert!(rustix::net::sockopt::tcp_thin_linear_timeouts(&stream).unwrap());
    }
}

//! Asks a running relay on this machine whether it is ready: for containers, which
//! hold this binary and nothing else.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Whether the relay whose admin listener is bound to `admin` answers 200.
pub fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    let address = reachable(admin);
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: whoever answers the first words may hang up before the last.
    let request =
        format!("GET /health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; STATUS_LINE.len()];
    stream.read_exact(&mut status)?;
    Ok(status == *STATUS_LINE)
}

/// A listener on every address is reached on this machine's own.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

const STATUS_LINE: &[u8; 12] = b"HTTP/1.1 200";

/// A ready relay answers in a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is made of a relay that answers so.
    fn hears(answer: &'static str) -> io::Result<bool> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let relay = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let heard = is_ready(address);
        relay.join().unwrap();
        heard
    }

    #[test]
    fn only_a_relay_that_answers_200_is_ready() {
        assert!(hears("HTTP/1.1 200 OK\r\n\r\n").unwrap());
        assert!(!hears("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap());
        assert!(hears("").is_err());
    }
}

//! Asks a running relay on this machine whether it is ready: for containers, which
//! hold this binary and nothing else.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Whether the relay whose admin listener is bound to `admin` answers 200.
pub fn is_ready(admin: SocketAddr) -> io::Result<bool> {
    ask(admin).map_err(|error| {
        let asked = format!("http://{admin}/health/ready cannot be asked: {error}");
        io::Error::new(error.kind(), asked)
    })
}

fn ask(admin: SocketAddr) -> io::Result<bool> {
    let mut stream = connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // In one piece: whoever answers the first words may hang up before the last.
    let request =
        format!("GET /health/ready HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut status = [0; STATUS_LINE.len()];
    stream.read_exact(&mut status)?;
    Ok(status == *STATUS_LINE)
}

/// A listener on every address is reached on this machine's own. On `[::]` it hears IPv4
/// as well, which is all that a container without IPv6 has.
fn connect(bound: SocketAddr) -> io::Result<TcpStream> {
    let to = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, bound.port()), PATIENCE);
    match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => to(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => {
            to(Ipv6Addr::LOCALHOST.into()).or_else(|_| to(Ipv4Addr::LOCALHOST.into()))
        }
        ip => to(ip),
    }
}

const STATUS_LINE: &[u8; 12] = b"HTTP/1.1 200";

/// A ready relay answers in a millisecond.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What is made of a relay that listens at `bound` and answers so, when it is asked
    /// for where it was told to listen.
    fn hears(bound: &str, told: &str, answer: &'static str) -> io::Result<bool> {
        let listener = TcpListener::bind((bound, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /health/ready HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let heard = is_ready(SocketAddr::new(told.parse().unwrap(), port))?;
        relay.join().unwrap();
        Ok(heard)
    }

    #[test]
    fn only_a_relay_that_answers_200_is_ready() {
        let hears = |answer| hears("0.0.0.0", "0.0.0.0", answer);
        assert!(hears(READY).unwrap());
        assert!(!hears("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap());
        assert!(hears("").is_err());
    }

    /// Of a listener on `[::]`, a machine without IPv6 has this half.
    #[test]
    fn without_ipv6_the_relay_is_asked_over_ipv4() {
        assert!(hears("127.0.0.1", "::", READY).unwrap());
    }

    const READY: &str = "HTTP/1.1 200 OK\r\n\r\n";
}

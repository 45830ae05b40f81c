//! The PROXY protocol, versions 1 and 2: who connected to the balancer in front of
//! us, said before the first byte of TLS. Read only from trusted balancers, and then
//! required: a listener that sometimes expects it can be told lies.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Why a connection's header was not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ProxyHeaderError {
    /// The connection did, before its header.
    Ended,
    Malformed,
    TimedOut,
    TooLong,
}

impl ProxyHeaderError {
    /// The label of its metric.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Malformed => "malformed",
            Self::TimedOut => "timeout",
            Self::TooLong => "too_long",
        }
    }
}

impl From<io::Error> for ProxyHeaderError {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// Reads exactly the header. `None`: the balancer speaks for itself (`LOCAL`,
/// `UNKNOWN`: its health checks), so the socket's peer is the client.
pub(super) async fn read<S>(
    stream: &mut S,
    timeout: Duration,
) -> Result<Option<IpAddr>, ProxyHeaderError>
where
    S: AsyncRead + Unpin,
{
    match tokio::time::timeout(timeout, read_header(stream)).await {
        Ok(header) => parse(&header?),
        Err(_) => Err(ProxyHeaderError::TimedOut),
    }
}

async fn read_header<S>(stream: &mut S) -> Result<Vec<u8>, ProxyHeaderError>
where
    S: AsyncRead + Unpin,
{
    let mut header = vec![0; V2_FIXED_LEN];
    // The shortest header of either version: nothing behind it is read.
    let first = &mut header[..V1_LEN_MIN];
    stream.read_exact(first).await?;
    if first.starts_with(ppp::v2::PROTOCOL_PREFIX) {
        stream.read_exact(&mut header[V1_LEN_MIN..]).await?;
        let len = match header[V2_FIXED_LEN - 2..] {
            [high, low] => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(ProxyHeaderError::Malformed),
        };
        if len > V2_REST_MAX {
            return Err(ProxyHeaderError::TooLong);
        }
        header.resize(V2_FIXED_LEN + len, 0);
        stream.read_exact(&mut header[V2_FIXED_LEN..]).await?;
        return Ok(header);
    }
    header.truncate(V1_LEN_MIN);
    if !header.starts_with(b"PROXY ") {
        return Err(ProxyHeaderError::Malformed);
    }
    while !header.ends_with(b"\r\n") {
        if header.len() >= V1_LEN_MAX {
            return Err(ProxyHeaderError::TooLong);
        }
        header.push(stream.read_u8().await?);
    }
    Ok(header)
}

fn parse(header: &[u8]) -> Result<Option<IpAddr>, ProxyHeaderError> {
    use ppp::{HeaderResult, v1, v2};
    if is_of_the_balancer(header) {
        return Ok(None);
    }
    match HeaderResult::parse(header) {
        HeaderResult::V1(Ok(header)) => Ok(match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Ok(match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(addresses)) => {
                Some(addresses.source_address.into())
            }
            (v2::Command::Proxy, v2::Addresses::IPv6(addresses)) => {
                Some(addresses.source_address.into())
            }
            _ => None,
        }),
        _ => Err(ProxyHeaderError::Malformed),
    }
}

/// `UNKNOWN` and `LOCAL`: whatever else such a header holds is to be ignored (sections 2.1 and
/// 2.2), which the crate does only where that looks like addresses.
fn is_of_the_balancer(header: &[u8]) -> bool {
    match header.strip_prefix(ppp::v2::PROTOCOL_PREFIX) {
        Some(rest) => rest.first() == Some(&V2_LOCAL),
        None => {
            let rest = header.strip_prefix(b"PROXY UNKNOWN");
            rest.is_some_and(|rest| rest == b"\r\n" || rest.starts_with(b" "))
        }
    }
}

/// Version 2, command `LOCAL`.
const V2_LOCAL: u8 = 0x20;

/// `PROXY UNKNOWN\r\n`.
const V1_LEN_MIN: usize = 15;

/// The longest line that version 1 allows (section 2.1).
const V1_LEN_MAX: usize = 107;

/// Signature, version, family, length (section 2.2).
const V2_FIXED_LEN: usize = 16;

/// Addresses and the extensions that balancers add; a TLS client certificate's name
/// among them fits.
const V2_REST_MAX: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    async fn read_from(bytes: &[u8]) -> (Result<Option<IpAddr>, ProxyHeaderError>, Vec<u8>) {
        let mut stream = bytes;
        let found = read(&mut stream, WAIT).await;
        (found, stream.to_vec())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = ppp::v2::PROTOCOL_PREFIX.to_vec();
        header.extend([0x20 | command, family]);
        header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend(rest);
        header
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_the_rest_unread() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x34, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 1;
        let with_extension = [v4.as_slice(), &[0x04, 0, 2, 9, 9]].concat();
        let cases = [
            (
                b"PROXY TCP4 203.0.113.7 10.0.0.1 4660 443\r\n".to_vec(),
                "203.0.113.7",
            ),
            (
                b"PROXY TCP6 2001::1 fd00::1 4660 443\r\n".to_vec(),
                "2001::1",
            ),
            (v2(1, 0x11, &v4), "203.0.113.7"),
            (v2(1, 0x21, &v6), "2001::1"),
            (v2(1, 0x11, &with_extension), "203.0.113.7"),
        ];
        for (mut bytes, expected) in cases {
            bytes.extend(b"\x16\x03\x01");
            let (found, rest) = read_from(&bytes).await;
            assert_eq!(found.unwrap(), Some(expected.parse().unwrap()));
            assert_eq!(rest, b"\x16\x03\x01");
        }
    }

    #[tokio::test]
    async fn a_balancers_own_connection_is_its_own() {
        for bytes in [
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(),
            b"PROXY UNKNOWN and whatever else, \xff, comes to its mind\r\n".to_vec(),
            v2(0, 0x00, &[]),
            v2(0, 0x11, &[9; 12]),
            v2(0, 0x21, &[9; 3]),
        ] {
            let (found, rest) = read_from(&[&bytes[..], b"\x16"].concat()).await;
            assert_eq!((found.unwrap(), rest.as_slice()), (None, &b"\x16"[..]));
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let tls = [&[0x16, 3, 1, 2, 0][..], &[0; 40]].concat();
        let long = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        for bytes in [
            &tls,
            &long,
            &b"PROXY TCP4 junk\r\n".to_vec(),
            &b"PROXY UNKNOWNS\r\n".to_vec(),
            &b"PROXY UNKNOWN\rPROXY TCP4\r\n".to_vec(),
            &b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            &v2(1, 0x11, &[1, 2]),
        ] {
            assert!(read_from(bytes).await.0.is_err());
        }
        let mut endless = v2(1, 0x11, &[]);
        endless[14..16].copy_from_slice(&[0xff, 0xff]);
        let refused = read_from(&endless).await.0;
        assert_eq!(refused, Err(ProxyHeaderError::TooLong));
    }

    #[tokio::test(start_paused = true)]
    async fn a_balancer_that_says_nothing_is_not_waited_for() {
        let (mut near, _far) = tokio::io::duplex(64);
        let refused = read(&mut near, WAIT).await;
        assert_eq!(refused, Err(ProxyHeaderError::TimedOut));
    }
}

//! The PROXY protocol. A header is read to its end and nothing behind it, in pieces of any
//! size, and names the address that stands in it; what a balancer writes is understood.

#![cfg_attr(fuzzing, no_main)]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::task::{Context, Poll};

use mls_relay::edge::fuzzing::proxy_header;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Builder;

/// The size of the pieces; then a header and what follows.
pub(crate) fn run(data: &[u8]) {
    let Some((size, data)) = data.split_first() else {
        return;
    };
    let (named, rest) = read(data, data.len().max(1));
    assert_eq!(read(data, usize::from(*size).max(1)), (named, rest));
    let header = &data[..data.len() - rest];
    if let Ok(named) = named {
        is_whole(header, named);
    }
    for (header, address) in written(data) {
        let bytes = [header.as_slice(), data].concat();
        assert_eq!(
            read(&bytes, usize::from(*size).max(1)),
            (Ok(Some(address)), data.len())
        );
    }
}

/// Whom it names, and how many bytes are left unread.
fn read(bytes: &[u8], size: usize) -> (Result<Option<IpAddr>, &'static str>, usize) {
    let runtime = Builder::new_current_thread().enable_time().build();
    let mut stream = Pieces { bytes, size };
    let named = runtime.unwrap().block_on(proxy_header(&mut stream));
    (named, stream.bytes.len())
}

struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let len = self.size.min(into.remaining()).min(self.bytes.len());
        let (piece, rest) = self.bytes.split_at(len);
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

/// By the standard: <https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt>.
fn is_whole(header: &[u8], named: Option<IpAddr>) {
    if let Some(line) = header.strip_suffix(b"\r\n").filter(|_| header[0] == b'P') {
        assert!(header.len() <= 107);
        let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
        let address = |text| str::from_utf8(text).unwrap().parse::<IpAddr>().ok();
        match named {
            Some(IpAddr::V4(_)) => assert!(words[1] == b"TCP4" && address(words[2]) == named),
            Some(IpAddr::V6(_)) => assert!(words[1] == b"TCP6" && address(words[2]) == named),
            // What follows means nothing.
            None => return assert_eq!(words[1], b"UNKNOWN"),
        }
        assert_eq!(words.len(), 6);
        return;
    }
    assert_eq!(
        header.len(),
        16 + usize::from(u16::from_be_bytes([header[14], header[15]]))
    );
    match named {
        None => assert!(header[12] == 0x20 || ![1, 2].contains(&(header[13] >> 4))),
        Some(IpAddr::V4(address)) => assert_eq!(header[16..20], address.octets()),
        Some(IpAddr::V6(address)) => assert_eq!(header[16..32], address.octets()),
    }
}

/// What balancers write of addresses and extensions that come from here.
fn written(data: &[u8]) -> Vec<(Vec<u8>, IpAddr)> {
    let Some((octets, extensions)) = data.split_first_chunk::<16>() else {
        return Vec::new();
    };
    let v6 = Ipv6Addr::from(*octets);
    let v4 = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
    let line =
        |family: &str, address: IpAddr| format!("PROXY {family} {address} {address} 4660 443\r\n");
    let mut headers = vec![
        (line("TCP4", v4.into()).into(), v4.into()),
        (line("TCP6", v6.into()).into(), v6.into()),
    ];
    let extensions = &extensions[..extensions.len().min(4_096 - 36)];
    for (family, address, octets) in [
        (0x11, IpAddr::V4(v4), &octets[..4]),
        (0x21, IpAddr::V6(v6), &octets[..]),
    ] {
        let addresses = [octets, octets, &[0x12, 0x34, 1, 0xbb]].concat();
        let len = u16::try_from(addresses.len() + extensions.len())
            .unwrap()
            .to_be_bytes();
        let head = [b"\r\n\r\n\0\r\nQUIT\n\x21".as_slice(), &[family], &len];
        let header = [&head[..], &[addresses.as_slice(), extensions]].concat();
        headers.push((header.concat(), address));
    }
    headers
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

//! Whose request it is, behind a proxy. Whatever a client writes into the header itself, the
//! address that the proxy adds is believed; or nobody's, where both are one line and the
//! client has left a quotation mark open in it, or where there is more than the one address that
//! such a header names. Without the proxy nothing is believed.

#![cfg_attr(fuzzing, no_main)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue};
use mls_relay::edge::AddressHeader::{self, CfConnectingIp, Forwarded, XForwardedFor, XRealIp};
use mls_relay::edge::fuzzing::client;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7));

/// What the proxy may add, and whom it means.
const ADDED: [(AddressHeader, &str, IpAddr); 10] = [
    (XForwardedFor, "203.0.113.7", V4),
    (XForwardedFor, "203.0.113.7:4660, 10.0.0.2", V4),
    (XForwardedFor, "2001:db8::7", V6),
    (XForwardedFor, "[2001:db8::7]:4660", V6),
    (Forwarded, "for=203.0.113.7", V4),
    (Forwarded, "for=\"203.0.113.7:4660\", for=10.0.0.2", V4),
    (Forwarded, "proto=https;for=\"[2001:db8::7]\"", V6),
    (Forwarded, "by=\"_a;b,\\\"\";For=\"[2001:db8::7]:4660\"", V6),
    (CfConnectingIp, "2001:db8::7", V6),
    (XRealIp, "203.0.113.7", V4),
];

/// What is added, and whether to the client's last line or as one of its own; then the
/// client's lines, with a zero between them.
pub(crate) fn run(data: &[u8]) {
    let Some((shape, claimed)) = data.split_first() else {
        return;
    };
    let (header, added, meant) = ADDED[usize::from(*shape) % ADDED.len()];
    let is_joined = shape & 0x80 != 0;
    let mut lines: Vec<Vec<u8>> = claimed.split(|byte| *byte == 0).map(Vec::from).collect();
    match lines.last_mut() {
        Some(last) if is_joined => last.extend(format!(", {added}").bytes()),
        _ => lines.push(added.into()),
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let Ok(value) = HeaderValue::from_bytes(&line) else {
            return;
        };
        headers.append(header.name(), value);
    }
    let proxies = ["10.0.0.0/8".parse().unwrap()];
    let believed = client(PROXY, &headers, &proxies, header).expose();
    let may_be_spoilt = match header {
        Forwarded => is_joined,
        XForwardedFor => false,
        CfConnectingIp | XRealIp => true,
    };
    let is_nobodys = may_be_spoilt && believed == PROXY;
    assert!(believed == meant || is_nobodys, "{believed} is believed");
    let without = client(STRANGER, &headers, &proxies, header).expose();
    assert_eq!(without, STRANGER);
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

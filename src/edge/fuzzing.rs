//! The ways in for `fuzz/`: who a stranger's bytes say that they come from.

use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;
use ipnet::IpNet;
use tokio::io::AsyncRead;

use super::client_address::{AddressHeader, Trust};
use super::proxy_header;
use crate::types::ClientIp;

/// Whom the PROXY header of a connection names, or the label of why it is none.
pub async fn proxy_header<S>(stream: &mut S) -> Result<Option<IpAddr>, &'static str>
where
    S: AsyncRead + Unpin,
{
    let read = proxy_header::read(stream, Duration::from_secs(1)).await;
    read.map_err(|error| error.reason())
}

/// The client of a request that came from `peer`, if `proxies` write this header.
pub fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    proxies: &[IpNet],
    written: AddressHeader,
) -> ClientIp {
    let sources = &[written];
    Trust { proxies, sources }.client(peer, headers).0
}

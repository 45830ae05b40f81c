//! Pure. What an operator can choose about the edge.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::client_address::{AddressHeader, Trust};

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub admin_connections_max: usize,
    /// Where clients reach us. None: the host of the service DID.
    pub public_url: Option<String>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    /// Proxies whose word on the client's address is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The headers by which they name the client; the first that is present decides.
    pub client_address_headers: Vec<AddressHeader>,
    /// Whether connections to `listen` begin with a PROXY header.
    pub proxy_protocol: bool,
    /// HTTP without TLS, for trusted proxies only.
    pub plain_listen: Option<SocketAddr>,
    /// Whether connections to `plain_listen` begin with a PROXY header.
    pub plain_proxy_protocol: bool,
    pub proxy_header_timeout: Duration,
    /// Where the development certificate lives.
    pub certs_dir: PathBuf,
    pub handshake_timeout: Duration,
    /// From the end of the handshake to the end of the first request's head.
    pub header_timeout: Duration,
    /// With no request under way.
    pub idle_timeout: Duration,
    /// With written bytes unacknowledged.
    pub stall_timeout: Duration,
    /// What is read and dropped of a request that was answered before it had come whole.
    pub unread_bytes_max: usize,
    pub unread_timeout: Duration,
    pub header_bytes_max: usize,
    pub headers_max: usize,
    pub h2_streams_max: u32,
    pub h2_window_bytes: u32,
    pub h2_ping_interval: Duration,
    pub h2_ping_timeout: Duration,
    pub hsts_max_age: Duration,
}

impl Settings {
    /// Whom and what to believe about the client's address.
    pub(super) fn trust(&self) -> Trust<'_> {
        Trust {
            proxies: &self.trusted_proxies,
            sources: &self.client_address_headers,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            // A scraper, a probe, a few people.
            admin_connections_max: 64,
            public_url: None,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            client_address_headers: vec![AddressHeader::XForwardedFor],
            proxy_protocol: false,
            plain_listen: None,
            plain_proxy_protocol: false,
            // The balancer sends it with its first packet.
            proxy_header_timeout: Duration::from_secs(5),
            certs_dir: PathBuf::from("certs"),
            // A phone on a bad network needs round trips of a second or two, and of ten where
            // something else is on its way to it, which a call must not wait for.
            handshake_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            // Longer than the pauses of someone typing, shorter than a NAT's memory.
            idle_timeout: Duration::from_secs(75),
            // The kernel may hold what takes a slow network so long, and nobody sees it move
            // meanwhile.
            stall_timeout: Duration::from_secs(120),
            // More than nearly all calls have.
            unread_bytes_max: 1 << 20,
            // Long enough for that at 2 Mbit/s, and short beside a drain's grace.
            unread_timeout: Duration::from_secs(5),
            // A service token is under 2 KiB, a cursor 26 bytes.
            header_bytes_max: 16 * 1024,
            headers_max: 64,
            h2_streams_max: 64,
            // Half of it, at worst, a round trip: 10 MiB over 260 ms take 40 s.
            h2_window_bytes: 128 * 1024,
            h2_ping_interval: Duration::from_secs(30),
            // What queues before a ping may be on its way for as long.
            h2_ping_timeout: Duration::from_secs(120),
            // Two years: what the browsers' preload lists ask for.
            hsts_max_age: Duration::from_secs(63_072_000),
        }
    }
}

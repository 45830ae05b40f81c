//! Pure. `[edge]`: where strangers arrive, and how long they may take.

use std::net::SocketAddr;

use http::Uri;

use super::NETWORK;
use crate::config::key::Key;
use crate::config::kinds::{Flag, List, Maybe, Number, PATH, Text, days, seconds};
use crate::edge::AddressHeader;

pub(super) const KEYS: &[Key] = keys![
    /// Where the public TLS listener binds. "[::]:443" serves IPv4 and IPv6. Port 0 takes any free
    /// port.
    edge.listen, RELAY_LISTEN, Restart:
        ADDRESS => edge.listen;

    /// Where health and metrics are served, in plain HTTP. Keep it off the public network.
    edge.admin_listen, RELAY_ADMIN_LISTEN, Restart:
        ADDRESS => edge.admin_listen;

    /// Connections open at once on edge.admin_listen; over it, new ones are closed.
    edge.admin_connections_max, RELAY_ADMIN_CONNECTIONS_MAX, Restart:
        Number(1..=10_000) => edge.admin_connections_max;

    /// The URL under which clients reach this relay; its DID document names it. Not set: https and
    /// the host of the service DID.
    edge.public_url, PUBLIC_URL, Restart:
        Maybe(ORIGIN) => edge.public_url;

    /// The certificate chain, PEM, leaf first. Not set: the relay makes a development certificate.
    edge.tls_cert, TLS_CERT, NewConnections:
        Maybe(PATH) => edge.tls_cert;

    /// The private key of the certificate, PEM (PKCS#8, SEC1 or PKCS#1).
    edge.tls_key, TLS_KEY, NewConnections:
        Maybe(PATH) => edge.tls_key;

    /// Where the development certificate is kept.
    edge.certs_dir, RELAY_CERTS_DIR, Restart:
        PATH => edge.certs_dir;

    /// Networks of the proxies in front of the relay. From them alone a header or a PROXY header
    /// that names the client is believed; whoever else sends one is counted by its socket.
    edge.trusted_proxies, TRUSTED_PROXIES, Live:
        List(NETWORK) => edge.trusted_proxies;

    /// The headers by which trusted proxies name the client; the first that is present decides.
    /// Name only headers that every one of them sets itself. Lists are read from the right, past
    /// trusted hops.
    edge.client_address_headers, CLIENT_ADDRESS_HEADERS, Live:
        List(HEADER) => edge.client_address_headers;

    /// Whether connections to edge.listen begin with a PROXY header, version 1 or 2. Then only
    /// trusted proxies may connect, and the header is required.
    edge.proxy_protocol, PROXY_PROTOCOL, NewConnections:
        Flag => edge.proxy_protocol;

    /// Where trusted proxies that end TLS themselves reach the relay in plain HTTP. Nobody else may
    /// connect.
    edge.plain_listen, RELAY_PLAIN_LISTEN, Restart:
        Maybe(ADDRESS) => edge.plain_listen;

    /// Whether connections to edge.plain_listen begin with a PROXY header.
    edge.plain_proxy_protocol, PLAIN_PROXY_PROTOCOL, NewConnections:
        Flag => edge.plain_proxy_protocol;

    /// How long the PROXY header may take.
    edge.proxy_header_timeout_seconds, PROXY_HEADER_TIMEOUT_SECONDS, NewConnections:
        seconds(1..=60) => edge.proxy_header_timeout;

    /// How long the TLS handshake may take.
    edge.handshake_timeout_seconds, RELAY_HANDSHAKE_TIMEOUT_SECONDS, NewConnections:
        seconds(1..=60) => edge.handshake_timeout;

    /// How long the first request's head may take after the handshake.
    edge.header_timeout_seconds, RELAY_HEADER_TIMEOUT_SECONDS, Live:
        seconds(1..=120) => edge.header_timeout;

    /// How long a kept-alive connection may have no request under way, also on edge.admin_listen. A
    /// new request's head must be complete within it. Longer than a proxy in front keeps unused
    /// connections.
    edge.idle_timeout_seconds, RELAY_IDLE_TIMEOUT_SECONDS, Live:
        seconds(1..=3600) => edge.idle_timeout;

    /// How long written bytes may stay unacknowledged, or the peer's window closed, before the
    /// kernel gives the connection up (Linux), if nothing more is to be written, or the connection
    /// is of edge.admin_listen; and, at once, how long a client may leave a piece of an answer
    /// untaken when its turn has come, and how long it has for a whole one beside 1 s for each KiB.
    edge.stall_timeout_seconds, RELAY_STALL_TIMEOUT_SECONDS, NewConnections:
        seconds(5..=600) => edge.stall_timeout;

    /// What is read and dropped of a body whose call was answered before it had come whole, so that
    /// its client does not lose the answer; a piece of it counts as 256 bytes at least. Over it the
    /// stream is reset, or the connection closed.
    edge.unread_bytes_max, RELAY_UNREAD_BYTES_MAX, Live:
        Number(0..=16 << 20) => edge.unread_bytes_max;

    /// How long that may take; and how long a connection whose head was refused is read until its
    /// client closes it.
    edge.unread_timeout_seconds, RELAY_UNREAD_TIMEOUT_SECONDS, Live:
        seconds(1..=60) => edge.unread_timeout;

    /// The size of a request's head. Over it the answer is 431.
    edge.header_bytes_max, RELAY_HEADER_BYTES_MAX, NewConnections:
        Number(1 << 10..=64 << 10) => edge.header_bytes_max;

    /// The number of a request's headers over HTTP/1.1. Over it the answer is 431. Over HTTP/2
    /// each counts as 32 bytes more of edge.header_bytes_max.
    edge.headers_max, RELAY_HEADERS_MAX, NewConnections:
        Number(8..=1000) => edge.headers_max;

    /// Requests at once on one HTTP/2 connection.
    edge.h2_streams_max, RELAY_H2_STREAMS_MAX, NewConnections:
        Number(1..=1000) => edge.h2_streams_max;

    /// What an HTTP/2 client may send before the relay has read it, on one stream or on all of a
    /// connection.
    edge.h2_window_bytes, RELAY_H2_WINDOW_BYTES, NewConnections:
        Number(16 << 10..=1 << 20) => edge.h2_window_bytes;

    /// How often an HTTP/2 connection is asked whether it still lives.
    edge.h2_ping_seconds, RELAY_H2_PING_SECONDS, NewConnections:
        seconds(5..=600) => edge.h2_ping_interval;

    /// How long it may take to answer.
    edge.h2_ping_timeout_seconds, RELAY_H2_PING_TIMEOUT_SECONDS, NewConnections:
        seconds(1..=600) => edge.h2_ping_timeout;

    /// How long browsers remember to use https only, for this host and all below it
    /// (Strict-Transport-Security with includeSubDomains). 0 sends no such header.
    edge.hsts_days, RELAY_HSTS_DAYS, Restart:
        days(0..=3650) => edge.hsts_max_age;
];

const ADDRESS: Text<SocketAddr> =
    Text::parsed("an address and a port, such as \"127.0.0.1:8443\" or \"[::]:443\"");

const HEADER: Text<AddressHeader> =
    Text::parsed("any of x-forwarded-for, forwarded, cf-connecting-ip, x-real-ip");

/// `https://host` or `https://host:port`, nothing after.
const ORIGIN: Text<String> = Text {
    parse: |url| {
        let host = url.strip_prefix("https://")?;
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@']);
        (is_host && url.parse::<Uri>().is_ok()).then(|| url.to_owned())
    },
    ..Text::parsed("an https URL without a path, such as \"https://relay.example.com\"")
};

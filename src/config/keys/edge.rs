//! Pure. `[edge]`: where strangers arrive, and how long they may take.

use super::{Effect, Flag, Key, List, Maybe, NETWORKS, Number, Parsed, Path, Span, Unit};

const ADDRESS: &str = "an address and a port, such as \"127.0.0.1:8443\" or \"[::]:443\"";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "edge.listen",
        env: "RELAY_LISTEN",
        effect: Effect::Restart,
        doc: "Where the public TLS listener binds. \"[::]:443\" serves IPv4 and IPv6. Port 0 takes \
              any free port.",
        setting: &Parsed {
            at: |c| &mut c.edge.listen,
            allowed: ADDRESS,
            check: |_| true,
        },
    },
    Key {
        name: "edge.admin_listen",
        env: "RELAY_ADMIN_LISTEN",
        effect: Effect::Restart,
        doc: "Where health and metrics are served, in plain HTTP. Keep it off the public network.",
        setting: &Parsed {
            at: |c| &mut c.edge.admin_listen,
            allowed: ADDRESS,
            check: |_| true,
        },
    },
    Key {
        name: "edge.admin_connections_max",
        env: "RELAY_ADMIN_CONNECTIONS_MAX",
        effect: Effect::Restart,
        doc: "Connections open at once on edge.admin_listen; over it, new ones are closed.",
        setting: &Number {
            at: |c| &mut c.edge.admin_connections_max,
            least: 1,
            most: 10000,
        },
    },
    Key {
        name: "edge.public_url",
        env: "PUBLIC_URL",
        effect: Effect::Restart,
        doc: "The URL under which clients reach this relay; its DID document names it. Not set: \
              https and the host of the service DID.",
        setting: &Maybe {
            at: |c| &mut c.edge.public_url,
            allowed: "an https URL without a path, such as \"https://relay.example.com\"",
            parse: |url| is_origin(url).then(|| url.to_owned()),
            show: String::clone,
        },
    },
    Key {
        name: "edge.tls_cert",
        env: "TLS_CERT",
        effect: Effect::NewConnections,
        doc: "The certificate chain, PEM, leaf first. Not set: the relay makes a development \
              certificate.",
        setting: &Maybe::path(|c| &mut c.edge.tls_cert),
    },
    Key {
        name: "edge.tls_key",
        env: "TLS_KEY",
        effect: Effect::NewConnections,
        doc: "The private key of the certificate, PEM (PKCS#8, SEC1 or PKCS#1).",
        setting: &Maybe::path(|c| &mut c.edge.tls_key),
    },
    Key {
        name: "edge.certs_dir",
        env: "RELAY_CERTS_DIR",
        effect: Effect::Restart,
        doc: "Where the development certificate is kept.",
        setting: &Path(|c| &mut c.edge.certs_dir),
    },
    Key {
        name: "edge.trusted_proxies",
        env: "TRUSTED_PROXIES",
        effect: Effect::Live,
        doc: "Networks of the proxies in front of the relay. From them alone a header or a PROXY \
              header that names the client is believed; whoever else sends one is counted by its \
              socket.",
        setting: &List {
            at: |c| &mut c.edge.trusted_proxies,
            allowed: NETWORKS,
        },
    },
    Key {
        name: "edge.client_address_headers",
        env: "CLIENT_ADDRESS_HEADERS",
        effect: Effect::Live,
        doc: "The headers by which trusted proxies name the client; the first that is present \
              decides. Name only headers that every one of them sets itself. Lists are read from \
              the right, past trusted hops.",
        setting: &List {
            at: |c| &mut c.edge.client_address_headers,
            allowed: "any of x-forwarded-for, forwarded, cf-connecting-ip, x-real-ip",
        },
    },
    Key {
        name: "edge.proxy_protocol",
        env: "PROXY_PROTOCOL",
        effect: Effect::NewConnections,
        doc: "Whether connections to edge.listen begin with a PROXY header, version 1 or 2. Then \
              only trusted proxies may connect, and the header is required.",
        setting: &Flag(|c| &mut c.edge.proxy_protocol),
    },
    Key {
        name: "edge.plain_listen",
        env: "RELAY_PLAIN_LISTEN",
        effect: Effect::Restart,
        doc: "Where trusted proxies that end TLS themselves reach the relay in plain HTTP. Nobody \
              else may connect.",
        setting: &Maybe {
            at: |c| &mut c.edge.plain_listen,
            allowed: ADDRESS,
            parse: |address| address.parse().ok(),
            show: ToString::to_string,
        },
    },
    Key {
        name: "edge.plain_proxy_protocol",
        env: "PLAIN_PROXY_PROTOCOL",
        effect: Effect::NewConnections,
        doc: "Whether connections to edge.plain_listen begin with a PROXY header.",
        setting: &Flag(|c| &mut c.edge.plain_proxy_protocol),
    },
    Key {
        name: "edge.proxy_header_timeout_seconds",
        env: "PROXY_HEADER_TIMEOUT_SECONDS",
        effect: Effect::NewConnections,
        doc: "How long the PROXY header may take.",
        setting: &Span {
            at: |c| &mut c.edge.proxy_header_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 60,
        },
    },
    Key {
        name: "edge.handshake_timeout_seconds",
        env: "RELAY_HANDSHAKE_TIMEOUT_SECONDS",
        effect: Effect::NewConnections,
        doc: "How long the TLS handshake may take.",
        setting: &Span {
            at: |c| &mut c.edge.handshake_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 60,
        },
    },
    Key {
        name: "edge.header_timeout_seconds",
        env: "RELAY_HEADER_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long the first request's head may take after the handshake.",
        setting: &Span {
            at: |c| &mut c.edge.header_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 120,
        },
    },
    Key {
        name: "edge.idle_timeout_seconds",
        env: "RELAY_IDLE_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long a kept-alive connection may have no request under way, also on \
              edge.admin_listen. A new request's head must be complete within it. Longer than a \
              proxy in front keeps unused connections.",
        setting: &Span {
            at: |c| &mut c.edge.idle_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 3600,
        },
    },
    Key {
        name: "edge.stall_timeout_seconds",
        env: "RELAY_STALL_TIMEOUT_SECONDS",
        effect: Effect::NewConnections,
        doc: "How long written bytes may stay unacknowledged, or the peer's window closed, before \
              the kernel gives the connection up (Linux), if nothing more is to be written; and, at \
              once, how long a client may leave a piece of an answer untaken when its turn has \
              come, and how long it has for a whole one beside 1 s for each KiB.",
        setting: &Span {
            at: |c| &mut c.edge.stall_timeout,
            unit: Unit::Seconds,
            least: 5,
            most: 600,
        },
    },
    Key {
        name: "edge.unread_bytes_max",
        env: "RELAY_UNREAD_BYTES_MAX",
        effect: Effect::Live,
        doc: "What is read and dropped of a body whose call was answered before it had come whole, \
              so that its client does not lose the answer. Over it the \
              stream is reset, or the connection closed.",
        setting: &Number {
            at: |c| &mut c.edge.unread_bytes_max,
            least: 0,
            most: 16_777_216,
        },
    },
    Key {
        name: "edge.unread_timeout_seconds",
        env: "RELAY_UNREAD_TIMEOUT_SECONDS",
        effect: Effect::Live,
        doc: "How long that may take.",
        setting: &Span {
            at: |c| &mut c.edge.unread_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 60,
        },
    },
    Key {
        name: "edge.header_bytes_max",
        env: "RELAY_HEADER_BYTES_MAX",
        effect: Effect::NewConnections,
        doc: "The size of a request's head. Over it the answer is 431.",
        setting: &Number {
            at: |c| &mut c.edge.header_bytes_max,
            least: 1024,
            most: 65_536,
        },
    },
    Key {
        name: "edge.headers_max",
        env: "RELAY_HEADERS_MAX",
        effect: Effect::NewConnections,
        doc: "The number of a request's headers. Over it the answer is 431.",
        setting: &Number {
            at: |c| &mut c.edge.headers_max,
            least: 8,
            most: 1000,
        },
    },
    Key {
        name: "edge.h2_streams_max",
        env: "RELAY_H2_STREAMS_MAX",
        effect: Effect::NewConnections,
        doc: "Requests at once on one HTTP/2 connection.",
        setting: &Number {
            at: |c| &mut c.edge.h2_streams_max,
            least: 1,
            most: 1000,
        },
    },
    Key {
        name: "edge.h2_window_bytes",
        env: "RELAY_H2_WINDOW_BYTES",
        effect: Effect::NewConnections,
        doc: "What an HTTP/2 client may send before the relay has read it, on one stream or on all \
              of a connection.",
        setting: &Number {
            at: |c| &mut c.edge.h2_window_bytes,
            least: 16_384,
            most: 1_048_576,
        },
    },
    Key {
        name: "edge.h2_ping_seconds",
        env: "RELAY_H2_PING_SECONDS",
        effect: Effect::NewConnections,
        doc: "How often an HTTP/2 connection is asked whether it still lives.",
        setting: &Span {
            at: |c| &mut c.edge.h2_ping_interval,
            unit: Unit::Seconds,
            least: 5,
            most: 600,
        },
    },
    Key {
        name: "edge.h2_ping_timeout_seconds",
        env: "RELAY_H2_PING_TIMEOUT_SECONDS",
        effect: Effect::NewConnections,
        doc: "How long it may take to answer.",
        setting: &Span {
            at: |c| &mut c.edge.h2_ping_timeout,
            unit: Unit::Seconds,
            least: 1,
            most: 600,
        },
    },
    Key {
        name: "edge.hsts_days",
        env: "RELAY_HSTS_DAYS",
        effect: Effect::Restart,
        doc: "How long browsers remember to use https only, for this host and all below it \
              (Strict-Transport-Security with includeSubDomains). 0 sends no such header.",
        setting: &Span {
            at: |c| &mut c.edge.hsts_max_age,
            unit: Unit::Days,
            least: 0,
            most: 3650,
        },
    },
];

/// `https://host` or `https://host:port`, nothing after.
fn is_origin(url: &str) -> bool {
    url.strip_prefix("https://").is_some_and(|host| {
        !host.is_empty() && !host.contains(['/', '?', '#', '@']) && url.parse::<http::Uri>().is_ok()
    })
}

//! Pure. What each public listener expects of whoever connects.

use std::time::Duration;

use super::settings::Settings;

/// How a connection of one listener begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance {
    pub(super) security: Security,
    /// A PROXY header comes first, within this time; only trusted proxies may connect.
    pub(super) proxy_header: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Security {
    /// HTTP without TLS, from trusted proxies only.
    Plain,
    Tls,
}

impl Entrance {
    /// How a connection begins that comes now to the listener of this security.
    pub(super) fn of(security: Security, settings: &Settings) -> Self {
        let has_header = match security {
            Security::Plain => settings.plain_proxy_protocol,
            Security::Tls => settings.proxy_protocol,
        };
        Self {
            security,
            proxy_header: has_header.then_some(settings.proxy_header_timeout),
        }
    }

    /// The setting that names the listener.
    pub(super) fn key(self) -> &'static str {
        match self.security {
            Security::Plain => "edge.plain_listen",
            Security::Tls => "edge.listen",
        }
    }

    /// Whether strangers have no business here.
    pub(super) fn is_for_proxies(self) -> bool {
        self.security == Security::Plain || self.proxy_header.is_some()
    }
}

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
    pub(super) fn tls(settings: &Settings) -> Self {
        Self {
            security: Security::Tls,
            proxy_header: settings
                .proxy_protocol
                .then_some(settings.proxy_header_timeout),
        }
    }

    pub(super) fn plain(settings: &Settings) -> Self {
        Self {
            security: Security::Plain,
            proxy_header: settings
                .plain_proxy_protocol
                .then_some(settings.proxy_header_timeout),
        }
    }

    /// Whether strangers have no business here.
    pub(super) fn is_for_proxies(self) -> bool {
        self.security == Security::Plain || self.proxy_header.is_some()
    }
}

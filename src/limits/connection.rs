//! Layer 1: connections, before any cryptography.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::counts::Held;
use super::handshake::Arrivals;
use super::{Inner, LimitError, Limits, Rule, Settings};
use crate::types::ClientIp;

/// One open connection; counted until dropped.
pub struct ConnectionPermit {
    _node: NodePermit,
    /// Whose it is, and how that address arrives.
    pub(super) address: Option<(ClientIp, Held<Arrivals>)>,
}

impl ConnectionPermit {
    /// Whose it is, if that is limited: not a proxy's own, and of no exempt network.
    pub fn client(&self) -> Option<ClientIp> {
        self.address.as_ref().map(|(client, _)| *client)
    }
}

impl Limits {
    /// The system has room for so many connections, whatever the settings allow.
    pub fn bound_connections(&self, room: u32) {
        self.inner.connections_room.store(room, Ordering::Relaxed);
    }

    /// Whether a stranger's connection may stay. Ask before TLS, and hold the permit
    /// as long as the socket.
    pub fn admit_connection(&self, client: ClientIp) -> Result<ConnectionPermit, LimitError> {
        self.identify_connection(self.admit_proxy_connection()?, client)
    }

    /// A connection of a trusted proxy, which is not itself limited by address.
    pub fn admit_proxy_connection(&self) -> Result<ConnectionPermit, LimitError> {
        let settings = self.inner.settings.load();
        let room = self.inner.connections_room.load(Ordering::Relaxed);
        let node = NodePermit::enter(
            &self.inner,
            |inner| &inner.connections,
            Rule::ConnectionsTotal,
            settings.connections.total.min(room),
            &settings,
        )?;
        Ok(ConnectionPermit {
            _node: node,
            address: None,
        })
    }

    /// Who is behind a proxy's connection, once its PROXY header has been read.
    pub fn identify_connection(
        &self,
        mut permit: ConnectionPermit,
        client: ClientIp,
    ) -> Result<ConnectionPermit, LimitError> {
        let settings = self.inner.settings.load();
        if settings.exempts(client) {
            return Ok(permit);
        }
        self.inner.refuse_boxed_stranger(&settings, client)?;
        self.inner.limit_connection_rate(&settings, client)?;
        let held = self.inner.hold_connection(&settings, client)?;
        permit.address = held.map(|held| (client, held));
        Ok(permit)
    }

    /// How many requests in a row may be refused on one connection until it is closed. Its
    /// address is in the penalty box by then, where new connections cost next to nothing: each
    /// refusal on an open one costs an answer, and a client that sends without reading gets
    /// very many.
    pub fn refusals_max(&self) -> u32 {
        let settings = self.inner.settings.load();
        match settings.dry_run.contains(Rule::PenaltyBox) {
            true => u32::MAX,
            false => settings.penalties.strikes.into(),
        }
    }

    /// A client said something that is no request, and its connection had to be closed. No
    /// rule has counted it, so it is an offence like a refusal.
    pub fn misspoke(&self, client: ClientIp) {
        let (inner, settings) = (&*self.inner, self.inner.settings.load());
        inner.blame(&settings, inner.address_subject(client));
    }
}

impl Inner {
    /// An address in the penalty box is refused here, unless an account proved itself
    /// from it lately: then its requests are told apart at layer 2.
    fn refuse_boxed_stranger(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<(), LimitError> {
        match self.boxed(settings, || self.address_subject(client)) {
            Some(retry_after) if !self.has_familiar_accounts(settings, client) => {
                Err(LimitError::Reached {
                    rule: Rule::PenaltyBox,
                    retry_after,
                })
            }
            _ => Ok(()),
        }
    }

    fn limit_connection_rate(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<(), LimitError> {
        let now = self.clock.tick();
        let (decision, _) = self.take_address(settings, Rule::ConnectionRate, client, now);
        let decision = self.settle(settings, decision);
        match decision.refused.is_some() && self.is_offence_to_hurry(settings, client) {
            true => {
                let subject = self.address_subject(client);
                self.strike(settings, subject, decision).admit()
            }
            false => decision.admit(),
        }
    }

    /// Whether one more connection that came too fast is an offence: of an address that has
    /// others open, one in as many as may come in a second. The phones of a carrier all come
    /// at once when their network is back, and again while they are turned away unheard:
    /// that alone must not shut them out. A flood is boxed a little later for it.
    fn is_offence_to_hurry(&self, settings: &Settings, client: ClientIp) -> bool {
        let name = self.holders.address(Rule::ConnectionsIp as u8, client);
        let shared = self.connections_ip.shared(name);
        shared.is_none_or(|arrivals| {
            let before = arrivals.turned_away.fetch_add(1, Ordering::Relaxed);
            let each = u32::from(settings.connections.per_ip_per_second);
            (before + 1).is_multiple_of(each.max(1))
        })
    }

    fn hold_connection(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<Option<Held<Arrivals>>, LimitError> {
        let rule = Rule::ConnectionsIp;
        let name = self.holders.address(rule as u8, client);
        let enter = |most| self.connections_ip.enter(name, most, Arrivals::default);
        if let Some(held) = enter(settings.connections.per_ip) {
            return Ok(Some(held));
        }
        if !settings.enforces(rule) {
            return Ok(enter(u32::MAX));
        }
        let retry_after = FULL_RETRY_AFTER;
        Err(LimitError::Reached { rule, retry_after })
    }
}

/// A place among those of the whole node.
pub(super) struct NodePermit {
    inner: Arc<Inner>,
    count: fn(&Inner) -> &AtomicU32,
    rule: Rule,
}

impl NodePermit {
    pub(super) fn enter(
        inner: &Arc<Inner>,
        count: fn(&Inner) -> &AtomicU32,
        rule: Rule,
        most: u32,
        settings: &Settings,
    ) -> Result<Self, LimitError> {
        let permit = Self {
            inner: Arc::clone(inner),
            count,
            rule,
        };
        let before = count(inner).fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("relay_limits_open", "rule" => rule.name()).increment(1.0);
        if before < most || !settings.enforces(rule) {
            return Ok(permit);
        }
        // Dropping the permit takes back what was counted.
        let retry_after = FULL_RETRY_AFTER;
        Err(LimitError::NodeFull { rule, retry_after })
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        (self.count)(&self.inner).fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("relay_limits_open", "rule" => self.rule.name()).decrement(1.0);
    }
}

/// Nobody can know when a connection will close; this only spreads the next tries.
pub(super) const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::limits::Clock;
    use crate::runtime::Live;

    fn ip(host: u8) -> ClientIp {
        ClientIp::new([192, 0, 2, host].into())
    }

    #[test]
    fn phones_that_come_at_once_are_let_in_one_second_after_the_other_and_a_flood_is_boxed() {
        const PHONES: usize = 2_000;
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let mut open = Vec::new();
        // Whoever was turned away comes again.
        for _ in 0..10 {
            let waiting = open.len()..PHONES;
            open.extend(waiting.filter_map(|_| limits.admit_connection(ip(1)).ok()));
            limits.clock().advance(Duration::from_secs(1));
        }
        assert_eq!((open.len(), limits.penalties().len()), (PHONES, 0));
        let come = |host, times: u32| {
            for _ in 0..times {
                drop(limits.admit_connection(ip(host)));
            }
        };
        come(1, 30_000);
        assert_eq!(limits.penalties().len(), 1);
        // Nobody's phones are here.
        come(2, 400);
        assert_eq!(limits.penalties().len(), 2);
    }

    #[test]
    fn no_more_connections_are_let_in_than_the_system_has_room_for() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        limits.bound_connections(1);
        let held = limits.admit_proxy_connection().unwrap();
        assert!(limits.admit_proxy_connection().is_err());
        drop(held);
        assert!(limits.admit_proxy_connection().is_ok());
    }

    #[test]
    fn what_is_open_is_shown_until_it_closes() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = |expected: &str| {
            let shown = recorder.handle().render();
            assert!(shown.contains(expected), "{shown}");
        };
        metrics::with_local_recorder(&recorder, || {
            let mut limits = Settings::default();
            limits.connections.total = 2;
            let limits = Limits::new(Live::new(limits), Clock::manual());
            let [first, second] = [1, 2].map(|host| limits.admit_connection(ip(host)).unwrap());
            assert!(limits.admit_connection(ip(3)).is_err());
            shown("relay_limits_open{rule=\"connections_total\"} 2\n");
            let handshake = limits.admit_handshake(&first).unwrap();
            shown("relay_limits_open{rule=\"handshakes\"} 1\n");
            drop((first, second, handshake));
            shown("relay_limits_open{rule=\"connections_total\"} 0\n");
            shown("relay_limits_open{rule=\"handshakes\"} 0\n");
        });
    }
}

//! Layer 1: connections, before any cryptography.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::counts::Held;
use super::{Inner, LimitError, Limits, Rule, Settings, count_refusal};
use crate::types::ClientIp;

/// One open connection; counted until dropped.
pub struct ConnectionPermit {
    _node: NodePermit,
    /// Whose it is, and the handshakes of that address.
    address: Option<(ClientIp, Held<Handshakes>)>,
}

/// Those of one address, for as long as it has connections.
#[derive(Default)]
pub(super) struct Handshakes {
    under_way: AtomicU32,
    ran_out: AtomicU32,
}

/// One TLS handshake under way; counted until dropped.
pub struct HandshakePermit {
    _node: NodePermit,
    _address: Option<AddressShare>,
}

impl Limits {
    /// Whether a stranger's connection may stay. Ask before TLS, and hold the permit
    /// as long as the socket.
    pub fn admit_connection(&self, client: ClientIp) -> Result<ConnectionPermit, LimitError> {
        self.identify_connection(self.admit_proxy_connection()?, client)
    }

    /// A connection of a trusted proxy, which is not itself limited by address.
    pub fn admit_proxy_connection(&self) -> Result<ConnectionPermit, LimitError> {
        let settings = self.inner.settings.load();
        let node = NodePermit::enter(
            &self.inner,
            |inner| &inner.connections,
            Rule::ConnectionsTotal,
            settings.connections.total,
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

    /// Whether one more handshake may start, on this connection. Hold the permit until it
    /// has ended. One address has a share of the node's, and an offender a small one: whoever
    /// begins handshakes and says nothing more waits for itself, and nobody else does.
    pub fn admit_handshake(
        &self,
        connection: &ConnectionPermit,
    ) -> Result<HandshakePermit, LimitError> {
        let settings = self.inner.settings.load();
        let address = match &connection.address {
            Some((client, held)) => {
                let part = match self.inner.is_boxed(&settings, *client) {
                    true => OFFENDER_SHARE,
                    false => ADDRESS_SHARE,
                };
                Some(AddressShare::enter(&held.shared, part, &settings)?)
            }
            None => None,
        };
        let node = NodePermit::enter(
            &self.inner,
            |inner| &inner.handshakes,
            Rule::Handshakes,
            settings.connections.handshakes,
            &settings,
        )?;
        Ok(HandshakePermit {
            _node: node,
            _address: address,
        })
    }

    /// A client let its handshake run out, which held a place for all that time. Some of
    /// these are offences: a carrier whose network stands still for a while lets as many
    /// run out as it may have under way, and that alone must not shut its phones out.
    pub fn handshake_ran_out(&self, connection: &ConnectionPermit) {
        let Some((client, held)) = &connection.address else {
            return;
        };
        let (inner, settings) = (&*self.inner, self.inner.settings.load());
        let before = held.shared.ran_out.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(RAN_OUT_PER_STRIKE) {
            let subject = inner.address_subject(*client);
            inner
                .penalties
                .strike(subject, inner.clock.unix_ms(), &settings);
        }
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

    /// Whether an address is in the penalty box, known accounts or not.
    fn is_boxed(&self, settings: &Settings, client: ClientIp) -> bool {
        let now = || self.clock.unix_ms();
        let stays = || {
            let subject = self.address_subject(client);
            self.penalties.stays_for(subject, now(), settings)
        };
        self.penalties.is_in_use(now)
            && !settings.dry_run.contains(Rule::PenaltyBox)
            && stays().is_some()
    }

    fn limit_connection_rate(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<(), LimitError> {
        let now = self.clock.tick();
        let (decision, _) = self.take_address(settings, Rule::ConnectionRate, client, now);
        let decision = self.settle(settings, decision);
        if decision.refused.is_some() {
            let subject = self.address_subject(client);
            return self.strike(settings, subject, decision).admit();
        }
        Ok(())
    }

    fn hold_connection(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<Option<Held<Handshakes>>, LimitError> {
        let rule = Rule::ConnectionsIp;
        let keys = self.keys.load().keys;
        let name = |key: &super::BlindKey| key.address(rule as u8, client);
        let enter = |most| {
            let previous = keys.previous.as_ref().map(name);
            self.connections_ip
                .enter(name(&keys.current), previous, most, Handshakes::default)
        };
        if let Some(held) = enter(settings.connections.per_ip) {
            return Ok(Some(held));
        }
        let dry_run = settings.dry_run.contains(rule);
        count_refusal(rule, dry_run);
        if dry_run {
            return Ok(enter(u32::MAX));
        }
        let retry_after = FULL_RETRY_AFTER;
        Err(LimitError::Reached { rule, retry_after })
    }
}

/// A place among those of one address.
struct AddressShare(Arc<Handshakes>);

impl AddressShare {
    fn enter(
        handshakes: &Arc<Handshakes>,
        part: u32,
        settings: &Settings,
    ) -> Result<Self, LimitError> {
        let rule = Rule::Handshakes;
        let most = (settings.connections.handshakes / part).max(1);
        let share = Self(Arc::clone(handshakes));
        if handshakes.under_way.fetch_add(1, Ordering::Relaxed) < most {
            return Ok(share);
        }
        let dry_run = settings.dry_run.contains(rule);
        count_refusal(rule, dry_run);
        if dry_run {
            return Ok(share);
        }
        // Dropping the share takes back what was counted.
        let retry_after = FULL_RETRY_AFTER;
        Err(LimitError::Reached { rule, retry_after })
    }
}

impl Drop for AddressShare {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One address may have this part of the handshakes under way: a carrier's many phones may
/// come at once.
const ADDRESS_SHARE: u32 = 4;

/// And this, if it is in the penalty box and let in for the sake of known accounts.
const OFFENDER_SHARE: u32 = 16;

/// With the defaults, a full share of handshakes that run out together is half of what leads
/// into the penalty box.
const RAN_OUT_PER_STRIKE: u32 = 4;

/// A place among those of the whole node.
struct NodePermit {
    inner: Arc<Inner>,
    count: fn(&Inner) -> &AtomicU32,
    rule: Rule,
}

impl NodePermit {
    fn enter(
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
        if before < most {
            return Ok(permit);
        }
        let dry_run = settings.dry_run.contains(rule);
        count_refusal(rule, dry_run);
        if dry_run {
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
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::limits::Clock;
    use crate::runtime::Live;
    use crate::types::Did;

    fn limits() -> Limits {
        let mut settings = Settings::default();
        settings.penalties.strikes = 3;
        settings.connections.handshakes = 2 * OFFENDER_SHARE;
        Limits::new(Live::new(settings), Clock::manual())
    }

    fn ip(host: u8) -> ClientIp {
        ClientIp::new([192, 0, 2, host].into())
    }

    fn let_handshakes_run_out(limits: &Limits, client: ClientIp) {
        let connection = limits.admit_connection(client).unwrap();
        for _ in 0..3 * RAN_OUT_PER_STRIKE {
            limits.handshake_ran_out(&connection);
        }
    }

    #[test]
    fn an_address_that_lets_handshakes_run_out_stays_outside() {
        let limits = limits();
        let_handshakes_run_out(&limits, ip(1));
        assert!(limits.admit_connection(ip(1)).is_err());
        assert!(limits.admit_connection(ip(2)).is_ok());
    }

    #[test]
    fn an_address_whose_network_stood_still_once_is_let_in() {
        let limits = Limits::new(Live::new(Settings::default()), Clock::manual());
        let share = Settings::default().connections.handshakes / ADDRESS_SHARE;
        for _ in 0..share {
            limits.clock().advance(Duration::from_millis(20));
            let connection = limits.admit_connection(ip(1)).unwrap();
            limits.handshake_ran_out(&connection);
        }
        assert!(limits.admit_connection(ip(1)).is_ok());
    }

    #[test]
    fn where_accounts_are_known_it_has_a_small_share_of_the_places() {
        let (limits, client) = (limits(), ip(1));
        let did = Did::parse("did:plc:abc").unwrap();
        limits.proved(&limits.check_ip(client, Some(&did)), client, &did);
        let open: Vec<_> = (0..8)
            .map(|_| limits.admit_connection(client).unwrap())
            .collect();
        let places = || {
            let begin = |connection| limits.admit_handshake(connection);
            let begun: Vec<_> = open.iter().map(begin).collect();
            begun.iter().filter(|permit| permit.is_ok()).count()
        };
        assert_eq!(places(), 8);
        let_handshakes_run_out(&limits, client);
        assert_eq!(places(), 2);
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

    #[test]
    fn a_trusted_proxy_is_not_blamed_for_its_clients() {
        let limits = limits();
        for _ in 0..5 * RAN_OUT_PER_STRIKE {
            let connection = limits.admit_proxy_connection().unwrap();
            limits.handshake_ran_out(&connection);
        }
        assert!(limits.admit_connection(ip(1)).is_ok());
    }
}

//! Layer 1, continued: TLS handshakes under way, of the node and of each address.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::connection::{ConnectionPermit, Counted, FULL_RETRY_AFTER, NodePermit, Origin};
use super::{Inner, LimitError, Limits, Rule, Settings};
use crate::types::ClientIp;

/// How one address or network arrives, kept for as long as it has connections.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Handshakes.
    under_way: AtomicU32,
    ran_out: AtomicU32,
    /// Connections that came too fast.
    pub(super) turned_away: AtomicU32,
}

/// One TLS handshake under way; counted until dropped.
pub struct HandshakePermit {
    _node: NodePermit,
    _address: Option<Counted<Arrivals>>,
    _network: Option<Counted<Arrivals>>,
}

impl Limits {
    /// Whether one more handshake may start, on this connection. Hold the permit until it
    /// has ended. One address has a share of the node's, an offender a small one, and all
    /// addresses of one owner have one together: whoever begins handshakes and says nothing more
    /// waits for itself, and nobody else does.
    pub fn admit_handshake(
        &self,
        connection: &ConnectionPermit,
    ) -> Result<HandshakePermit, LimitError> {
        let settings = self.inner.settings.load();
        let connections = &settings.connections;
        let (address, network) = match &connection.origin {
            Some(origin) => {
                let part = self.inner.handshakes_part(&settings, origin.client);
                let most = (Rule::Handshakes, connections.handshakes / part);
                let address = share(&origin.address.shared, most, &settings)?;
                let most = connections.handshakes * connections.handshakes_network_percent / 100;
                let most = (Rule::HandshakesNetwork, most);
                let network = origin.network.as_ref();
                let network = network.map(|network| share(&network.shared, most, &settings));
                (Some(address), network.transpose()?)
            }
            None => (None, None),
        };
        let node = NodePermit::enter(
            &self.inner,
            |inner| &inner.handshakes,
            (Rule::Handshakes, connections.handshakes),
            &settings,
        )?;
        Ok(HandshakePermit {
            _node: node,
            _address: address,
            _network: network,
        })
    }

    /// A client let its handshake run out, which held a place for all that time. Some of
    /// these are offences: a carrier whose network stands still for a while lets as many
    /// run out as it may have under way, and that alone must not shut its phones out.
    pub fn handshake_ran_out(&self, connection: &ConnectionPermit) {
        let Some(Origin {
            client, address, ..
        }) = &connection.origin
        else {
            return;
        };
        let (inner, settings) = (&*self.inner, self.inner.settings.load());
        let before = address.shared.ran_out.fetch_add(1, Ordering::Relaxed);
        if (before + 1).is_multiple_of(RAN_OUT_PER_STRIKE) {
            inner.blame(&settings, inner.address_subject(*client));
        }
    }
}

impl Inner {
    /// Which part of the handshakes an address may have under way.
    fn handshakes_part(&self, settings: &Settings, client: ClientIp) -> u32 {
        let stay = || self.stay(settings, || self.address_subject(client));
        match !settings.dry_run.contains(Rule::PenaltyBox) && stay().is_some() {
            true => OFFENDER_SHARE,
            false => ADDRESS_SHARE,
        }
    }
}

/// A place among those of one address or network, of which one may always come.
fn share(
    arrivals: &Arc<Arrivals>,
    (rule, most): (Rule, u32),
    settings: &Settings,
) -> Result<Counted<Arrivals>, LimitError> {
    let retry_after = FULL_RETRY_AFTER;
    let bound = (rule, most.max(1));
    Counted::enter(arrivals, |arrivals| &arrivals.under_way, bound, settings)
        .ok_or(LimitError::Reached { rule, retry_after })
}

/// One address may have this part of the handshakes under way: a carrier's many phones may
/// come at once.
const ADDRESS_SHARE: u32 = 4;

/// And this, if it is in the penalty box and let in for the sake of known accounts.
const OFFENDER_SHARE: u32 = 16;

/// With the defaults, a full share of handshakes that run out together is half of what leads
/// into the penalty box.
const RAN_OUT_PER_STRIKE: u32 = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        limits.note_familiar(client, &did);
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
    fn whoever_owns_a_network_leaves_places_for_others_unless_all_come_from_one() {
        for (percent, part) in [(50, 2), (100, 1)] {
            let mut settings = Settings::default();
            settings.connections.handshakes_network_percent = percent;
            let most = settings.connections.handshakes;
            let limits = Limits::new(Live::new(settings), Clock::manual());
            let begin = |network: u16, host| {
                let address = [0x2001, 0xdb8 + network, 1, host, 0, 0, 0, 1];
                let connection = limits.admit_connection(ClientIp::new(address.into()));
                let connection = connection.unwrap();
                (limits.admit_handshake(&connection), connection)
            };
            let begun: Vec<_> = (0..2 * most as u16).map(|host| begin(0, host)).collect();
            let places = begun.iter().filter(|(permit, _)| permit.is_ok()).count();
            assert_eq!(places, (most / part) as usize);
            assert_eq!(begin(1, 0).0.is_ok(), part > 1);
            drop(begun);
            assert!(begin(0, 0).0.is_ok());
        }
    }

    #[test]
    fn one_may_always_come_however_few_may() {
        let mut settings = Settings::default();
        settings.connections.handshakes = 1;
        let limits = Limits::new(Live::new(settings), Clock::manual());
        for client in [[192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap()] {
            let connection = limits.admit_connection(ClientIp::new(client)).unwrap();
            assert!(limits.admit_handshake(&connection).is_ok());
        }
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

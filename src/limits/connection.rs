//! Layer 1: connections, before any cryptography.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::counts::Held;
use super::domain::Domain;
use super::handshake::Arrivals;
use super::threshold::threshold;
use super::{Blind, Inner, LimitError, Limits, Rule, Settings};
use crate::types::ClientIp;

/// One open connection; counted until dropped.
pub struct ConnectionPermit {
    _node: NodePermit,
    pub(super) origin: Option<Origin>,
}

/// Whose a connection is, and how that address arrives, and its network if it is of IPv6.
pub(super) struct Origin {
    pub(super) client: ClientIp,
    pub(super) address: Held<Arrivals>,
    pub(super) network: Option<Held<Arrivals>>,
}

impl ConnectionPermit {
    /// Whose it is, if that is limited: not a proxy's own, and of no exempt network.
    pub fn client(&self) -> Option<ClientIp> {
        self.origin.as_ref().map(|origin| origin.client)
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
        let node = NodePermit::enter(
            &self.inner,
            |inner| &inner.connections,
            (Rule::ConnectionsTotal, self.inner.places(&settings)),
            &settings,
        )?;
        Ok(ConnectionPermit {
            _node: node,
            origin: None,
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
        permit.origin = Some(self.inner.origin(&settings, client)?);
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
        let Some(retry_after) = self.stay(settings, || self.address_subject(client)) else {
            return Ok(());
        };
        let rule = Rule::PenaltyBox;
        match self.has_familiar_accounts(settings, client) || !settings.enforces(rule) {
            true => Ok(()),
            false => Err(LimitError::Reached { rule, retry_after }),
        }
    }

    fn limit_connection_rate(
        &self,
        settings: &Settings,
        client: ClientIp,
    ) -> Result<(), LimitError> {
        let (rule, now) = (Rule::ConnectionRate, self.clock.tick());
        let decision = self.take_address(settings, (rule, rule as Domain), client, now);
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

    /// Counts a connection for its address, and for its network where that is of IPv6: whoever
    /// is given one has more addresses than there are places. IPv4 addresses are few enough for
    /// each to be known by itself.
    fn origin(&self, settings: &Settings, client: ClientIp) -> Result<Origin, LimitError> {
        let domain = Rule::ConnectionsIp as u8;
        let per_ip = (Rule::ConnectionsIp, settings.connections.per_ip);
        let share = |addresses| {
            let most = self.share_of_free(settings, addresses);
            (Rule::ConnectionsShare, most)
        };
        let network = match client.expose().is_ipv4() {
            true => None,
            false => {
                let name = self.holders.wide_network(domain, client);
                Some(self.enter(settings, name, [share(NETWORK_ADDRESSES)])?)
            }
        };
        let name = self.holders.address(domain, client);
        let address = self.enter(settings, name, [per_ip, share(1)])?;
        Ok(Origin {
            client,
            address,
            network,
        })
    }

    /// Counts a connection under a name, unless there are too many by one of the rules.
    fn enter<const RULES: usize>(
        &self,
        settings: &Settings,
        name: Blind,
        mut bounds: [(Rule, u32); RULES],
    ) -> Result<Held<Arrivals>, LimitError> {
        bounds.sort_unstable_by_key(|(_, most)| *most);
        let counts = &self.connections_ip;
        for (rule, most) in bounds {
            if let Some(held) = counts.enter(name, most, Arrivals::default) {
                return Ok(held);
            }
            if settings.enforces(rule) {
                let retry_after = FULL_RETRY_AFTER;
                return Err(LimitError::Reached { rule, retry_after });
            }
        }
        Ok(counts.hold(name, Arrivals::default))
    }

    /// How many connections so many addresses may have open, by what is free. The place of the
    /// one that asks is taken already, and may be its own.
    fn share_of_free(&self, settings: &Settings, addresses: u32) -> u32 {
        if settings.dry_run.contains(Rule::ConnectionsTotal) {
            return u32::MAX;
        }
        let taken = self.connections.load(Ordering::Relaxed).saturating_sub(1);
        let places = self.places(settings);
        let percent = u32::from(settings.connections.share_percent) * addresses;
        let free = places.saturating_sub(taken);
        let most = threshold(free.into(), places.into(), percent);
        u32::try_from(most).unwrap_or(u32::MAX)
    }

    /// How many connections there is room for.
    fn places(&self, settings: &Settings) -> u32 {
        let room = self.connections_room.load(Ordering::Relaxed);
        settings.connections.total.min(room)
    }
}

/// A place among those of the whole node.
pub(super) struct NodePermit {
    _counted: Counted<Inner>,
    rule: Rule,
}

impl NodePermit {
    pub(super) fn enter(
        inner: &Arc<Inner>,
        count: fn(&Inner) -> &AtomicU32,
        (rule, most): (Rule, u32),
        settings: &Settings,
    ) -> Result<Self, LimitError> {
        let retry_after = FULL_RETRY_AFTER;
        let counted = Counted::enter(inner, count, (rule, most), settings)
            .ok_or(LimitError::NodeFull { rule, retry_after })?;
        metrics::gauge!("relay_limits_open", "rule" => rule.name()).increment(1.0);
        Ok(Self {
            _counted: counted,
            rule,
        })
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        metrics::gauge!("relay_limits_open", "rule" => self.rule.name()).decrement(1.0);
    }
}

/// One in a count that others share; taken back when dropped.
pub(super) struct Counted<T> {
    shared: Arc<T>,
    count: fn(&T) -> &AtomicU32,
}

impl<T> Counted<T> {
    /// One more of at most so many, by this rule.
    pub(super) fn enter(
        shared: &Arc<T>,
        count: fn(&T) -> &AtomicU32,
        (rule, most): (Rule, u32),
        settings: &Settings,
    ) -> Option<Self> {
        let before = count(shared).fetch_add(1, Ordering::Relaxed);
        let counted = Self {
            shared: Arc::clone(shared),
            count,
        };
        (before < most || !settings.enforces(rule)).then_some(counted)
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        (self.count)(&self.shared).fetch_sub(1, Ordering::Relaxed);
    }
}

/// A /32 of IPv6 may hold as much as so many addresses: some carriers have all their phones in one.
const NETWORK_ADDRESSES: u32 = 32;

/// Nobody can know when a connection will close; this only spreads the next tries.
pub(super) const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

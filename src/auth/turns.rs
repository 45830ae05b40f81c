//! Whose turn it is to have a `did:web` document looked up. Anyone can set up hosts that
//! answer late and have us ask them, so no client network and no domain has more than a
//! part of these lookups, be they under way or waiting; and accounts whose keys are known
//! are refreshed in places that no first lookup takes.
//!
//! ```text
//! first lookup ─> its network's share ─> its domain's share ─┬─> all but the reserve ─┬─> turn
//! refresh of a known account ─────────> its domain's share ──┴────────────────────────┘
//! ```
//!
//! The network comes first: whoever waits for its own network holds nothing of a domain that
//! others ask for as well.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::runtime::Shares;

/// For whom a key is looked up.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Asker {
    /// For an account whose key is known, and used meanwhile.
    Known,
    /// For whoever came from this network, and proved nothing so far.
    Network(IpAddr),
}

pub(crate) struct WebTurns {
    all: Arc<Semaphore>,
    /// All but the reserve of known accounts.
    first_lookups: Arc<Semaphore>,
    networks: Shares<IpAddr>,
    domains: Shares<Box<str>>,
    /// Apart, so that nobody who asks for new hosts of a domain keeps the known ones from
    /// being refreshed.
    known_domains: Shares<Box<str>>,
}

/// A lookup's turn, until dropped.
pub(crate) struct Turn {
    _permits: [Option<OwnedSemaphorePermit>; 4],
}

impl WebTurns {
    /// At most so many lookups at once.
    pub(crate) fn new(lookups_max: usize) -> Self {
        let reserve = lookups_max / RESERVE;
        Self {
            all: Arc::new(Semaphore::new(lookups_max)),
            first_lookups: Arc::new(Semaphore::new(lookups_max - reserve)),
            networks: Shares::of(lookups_max / SHARE),
            domains: Shares::of(lookups_max / SHARE),
            known_domains: Shares::of(reserve / 2),
        }
    }

    /// Waits for a turn. Nothing, where too many of the same network or domain have or want
    /// one already: a part of all that may be `pending`.
    pub(crate) async fn take(
        &self,
        asker: Asker,
        domain: &str,
        pending_max: usize,
    ) -> Option<Turn> {
        let pending_max = pending_max / SHARE;
        let domain = domain.into();
        let (network, domain, first) = match asker {
            Asker::Known => {
                let domain = self.known_domains.take(domain, pending_max).await?;
                (None, domain, None)
            }
            Asker::Network(network) => {
                let network = self.networks.take(network, pending_max).await?;
                let domain = self.domains.take(domain, pending_max).await?;
                let first = Arc::clone(&self.first_lookups).acquire_owned().await.ok()?;
                (Some(network), domain, Some(first))
            }
        };
        let any = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Turn {
            _permits: [network, Some(domain), first, Some(any)],
        })
    }
}

impl Turn {
    /// A turn that is shared out to nobody in particular.
    pub(crate) async fn of_all(permits: &Arc<Semaphore>) -> Option<Self> {
        let permit = Arc::clone(permits).acquire_owned().await.ok()?;
        Some(Self {
            _permits: [Some(permit), None, None, None],
        })
    }
}

/// One client network and one domain may have this part of the lookups: it takes four of
/// either, at least, to hold up all who are not known yet.
const SHARE: usize = 4;

/// This part of the lookups is for accounts whose keys are known. One domain has half of it.
const RESERVE: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that have a turn at once.
    async fn served(
        turns: &WebTurns,
        askers: impl IntoIterator<Item = (Asker, String)>,
    ) -> Vec<Turn> {
        let mut served = Vec::new();
        for (asker, domain) in askers {
            let now = std::time::Duration::ZERO;
            let turn = tokio::time::timeout(now, turns.take(asker, &domain, 1_000)).await;
            served.extend(turn.ok().flatten());
        }
        served
    }

    fn from(network: u8) -> Asker {
        Asker::Network([192, 0, 2, network].into())
    }

    fn domain(number: u8) -> String {
        format!("host{number}.net")
    }

    #[tokio::test]
    async fn a_network_and_a_domain_have_a_quarter_and_get_it_back() {
        let turns = WebTurns::new(16);
        let of_network = served(&turns, (0..20).map(|n| (from(1), domain(n)))).await;
        assert_eq!(of_network.len(), 4);
        let of_domain = served(&turns, (2..20).map(|n| (from(n), domain(100)))).await;
        assert_eq!(of_domain.len(), 4);
        drop((of_network, of_domain));
        let again = served(&turns, (0..20).map(|n| (from(1), domain(n)))).await;
        assert_eq!(again.len(), 4);
    }

    #[tokio::test]
    async fn known_accounts_have_places_that_no_first_lookup_takes() {
        let turns = WebTurns::new(16);
        let strangers = served(&turns, (0..100).map(|n| (from(n), domain(n)))).await;
        assert_eq!(strangers.len(), 12);
        let slow = served(&turns, (0..10).map(|_| (Asker::Known, domain(1)))).await;
        assert_eq!(slow.len(), 2, "a domain has half of them");
        assert_eq!(served(&turns, [(Asker::Known, domain(2))]).await.len(), 1);
    }

    #[tokio::test]
    async fn a_single_lookup_at_once_is_anybodys() {
        let turns = WebTurns::new(1);
        for asker in [Asker::Known, from(1)] {
            assert_eq!(served(&turns, [(asker, domain(1))]).await.len(), 1);
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_a_part_of_all_who_may() {
        let turns = WebTurns::new(4);
        let take = |pending_max| turns.take(from(1), "slow.net", pending_max);
        let _first = take(8).await.unwrap();
        let mut second = std::pin::pin!(take(8));
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        assert!(take(8).await.is_none(), "told to come back at once");
    }
}

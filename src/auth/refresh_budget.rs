//! Pure. How often a wrong signature may send us to the directory. Without this
//! bound, anyone who can write a DID and 64 random bytes could make the relay
//! ask the directory as fast as it can answer.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use quick_cache::unsync::Cache;

use crate::runtime::Rate;
use crate::types::Did;

/// Two budgets, of the account and of the client's network; both must allow.
pub(crate) struct RefreshBudget {
    did_rate: Rate,
    network_rate: Rate,
    dids: Cache<Did, Instant>,
    networks: Cache<IpAddr, Instant>,
}

/// Why there is no refresh.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NoRefresh {
    /// The key was looked up a moment ago: the signature is wrong.
    Recent,
    /// The network has had its refreshes, so the key may be another by now. It has its next one
    /// after the `wait`.
    Spent { wait: Duration },
}

impl RefreshBudget {
    pub(crate) fn new(did_every: Duration, per_network_minute: u32, tracked_max: usize) -> Self {
        Self {
            did_rate: Rate::every(did_every),
            network_rate: Rate::per_minute(per_network_minute),
            dids: Cache::new(tracked_max),
            networks: Cache::new(tracked_max),
        }
    }

    /// Takes one refresh of this account for this network, if both allow it.
    pub(crate) fn spend(
        &mut self,
        did: &Did,
        network: IpAddr,
        now: Instant,
    ) -> Result<(), NoRefresh> {
        let did_paid = self.dids.get(did).copied();
        let did_next = self.did_rate.spend(did_paid, 1, now);
        let did_next = did_next.map_err(|_| NoRefresh::Recent)?;
        let network_paid = self.networks.get(&network).copied();
        let network_next = self.network_rate.spend(network_paid, 1, now);
        let network_next = network_next.map_err(|wait| NoRefresh::Spent { wait })?;
        self.dids.insert(did.clone(), did_next);
        self.networks.insert(network, network_next);
        Ok(())
    }

    /// Its refresh told nothing, so the account may have another. The network has spent its own
    /// all the same.
    pub(crate) fn give_back(&mut self, did: &Did) {
        self.dids.remove(did);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(n: u32) -> Did {
        Did::parse(&format!("did:plc:{n}")).unwrap()
    }

    fn network(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_account_is_refreshed_once_per_interval_whoever_asks() {
        let mut budget = RefreshBudget::new(Duration::from_secs(10), 20, 100);
        let start = Instant::now();
        assert!(budget.spend(&did(1), network(1), start).is_ok());
        let early = budget.spend(&did(1), network(2), start + Duration::from_secs(9));
        assert_eq!(early, Err(NoRefresh::Recent));
        assert!(budget.spend(&did(2), network(1), start).is_ok());
        assert!(
            budget
                .spend(&did(1), network(2), start + Duration::from_secs(10))
                .is_ok()
        );
    }

    #[test]
    fn one_network_has_its_burst_and_then_its_pace() {
        let mut budget = RefreshBudget::new(Duration::from_secs(10), 20, 100);
        let start = Instant::now();
        let allowed = (0..30)
            .filter(|n| budget.spend(&did(*n), network(1), start).is_ok())
            .count();
        assert_eq!(allowed, 20);
        assert!(budget.spend(&did(100), network(2), start).is_ok());
        let early = budget.spend(&did(101), network(1), start + Duration::from_secs(2));
        let wait = Duration::from_secs(1);
        assert_eq!(early, Err(NoRefresh::Spent { wait }));
        assert!(
            budget
                .spend(&did(101), network(1), start + Duration::from_secs(3))
                .is_ok()
        );
    }

    #[test]
    fn what_told_nothing_costs_the_network_and_not_the_account() {
        let mut budget = RefreshBudget::new(Duration::from_secs(10), 2, 100);
        let start = Instant::now();
        for _ in 0..2 {
            assert!(budget.spend(&did(1), network(1), start).is_ok());
            budget.give_back(&did(1));
        }
        let wait = Duration::from_secs(30);
        let spent = Err(NoRefresh::Spent { wait });
        assert_eq!(budget.spend(&did(1), network(1), start), spent);
        assert!(budget.spend(&did(1), network(2), start).is_ok());
    }

    #[test]
    fn a_refusal_costs_nothing() {
        let mut budget = RefreshBudget::new(Duration::from_secs(10), 1, 100);
        let start = Instant::now();
        assert!(budget.spend(&did(1), network(1), start).is_ok());
        // The network is refused; the account's budget stays whole for another.
        let refused = budget.spend(&did(2), network(1), start);
        assert!(matches!(refused, Err(NoRefresh::Spent { .. })));
        assert!(budget.spend(&did(2), network(2), start).is_ok());
    }
}

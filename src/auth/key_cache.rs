//! The signing keys of the accounts that talk to us, looked up once for all who
//! ask, remembered for a while, and refreshed before they are missed.

use std::net::IpAddr;
use std::sync::Arc;

use metrics::{counter, histogram};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::did_location::DidLocation;
use super::freshness::{Ending, Standing};
use super::lookups::{Lane, Lookups};
use super::refresh_budget::{NoRefresh, RefreshBudget};
use super::remembered::{Outcome, Remembered};
use super::resolver::Resolver;
use super::signature::PublicKey;
use super::turns::Asker;
use super::{ResolveError, Settings};
use crate::runtime::{Live, Pending, Shutdown};
use crate::types::Did;

/// Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub(crate) struct KeyCache(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    settings: Live<Settings>,
    remembered: Remembered,
    /// Held for moments only, never across an await.
    lookups: Mutex<Lookups>,
    budget: Mutex<RefreshBudget>,
    shutdown: Shutdown,
}

/// A key, and whether it had to be looked up for whoever asked.
pub(crate) struct Known {
    pub(crate) key: Arc<PublicKey>,
    pub(crate) is_new: bool,
}

impl KeyCache {
    pub(crate) fn new(
        resolver: Resolver,
        settings: Live<Settings>,
        budget: RefreshBudget,
        shutdown: Shutdown,
    ) -> Self {
        let keys_max = settings.load().keys_max;
        Self(Arc::new(Inner {
            resolver,
            settings,
            remembered: Remembered::new(keys_max),
            lookups: Mutex::default(),
            budget: Mutex::new(budget),
            shutdown,
        }))
    }

    /// The account's key: from memory, or by one lookup shared by all who wait. The
    /// `network` is where the one that claims to be the account is.
    pub(crate) async fn key(&self, did: &Did, network: IpAddr) -> Result<Known, ResolveError> {
        // Such a DID takes no room here.
        DidLocation::of(did)?;
        let (outcome, is_new) = match self.remembered(did) {
            Some((outcome, Standing::Fresh)) => {
                count_use("fresh");
                (outcome, false)
            }
            Some((outcome, Standing::Stale)) => {
                count_use("stale");
                // Nobody waits for it. When there is no room for one more lookup,
                // the next caller tries again.
                let _ = self.join_or_start(did, Renew::IfStale, Asker::Known);
                (outcome, false)
            }
            Some((_, Standing::Expired)) | None => {
                count_use("missed");
                let asker = Asker::Network(network);
                (self.looked_up(did, Renew::IfExpired, asker).await, true)
            }
        };
        outcome.map(|key| Known { key, is_new })
    }

    /// Looks the key up anew, because a signature did not fit the one `seen`.
    /// Nothing, when it is still the same, also as of a moment ago.
    pub(crate) async fn other_key(
        &self,
        did: &Did,
        seen: &PublicKey,
        network: IpAddr,
    ) -> Result<Option<Arc<PublicKey>>, ResolveError> {
        // Someone else's failure may have brought the new key already.
        if let Some((Ok(key), Standing::Fresh)) = self.remembered(did)
            && *key != *seen
        {
            return Ok(Some(key));
        }
        let now = Instant::now().into_std();
        let granted = self.0.budget.lock().spend(did, network, now);
        if let Err(refused) = granted {
            count_refresh("limited");
            return match refused {
                NoRefresh::Recent => Ok(None),
                NoRefresh::Spent { wait } => Err(ResolveError::RefreshesSpent { wait }),
            };
        }
        let asker = Asker::Network(network);
        let key = self.looked_up(did, Renew::Always, asker).await;
        let changed = key.map(|key| (*key != *seen).then_some(key));
        if changed.is_err() {
            // Or whoever comes next would hear that its signature is wrong.
            self.0.budget.lock().give_back(did);
        }
        count_refresh(match &changed {
            Ok(Some(_)) => "changed",
            Ok(None) => "same",
            Err(_) => "failed",
        });
        changed
    }

    fn remembered(&self, did: &Did) -> Option<(Outcome, Standing)> {
        self.0.remembered.of(did, &self.0.settings.load())
    }

    /// What is remembered, if it makes a lookup needless.
    fn content(&self, did: &Did, renew: Renew) -> Option<Outcome> {
        let (outcome, standing) = self.remembered(did)?;
        renew.is_content_with(standing).then_some(outcome)
    }

    /// Waits for a lookup's end. Each has its own deadlines, so this one ends too.
    async fn looked_up(&self, did: &Did, renew: Renew, asker: Asker) -> Outcome {
        let pending = self.join_or_start(did, renew, asker)?;
        // Without an answer, if the end of the process cut the task off.
        pending.answer().await.unwrap_or(Err(ResolveError::Busy))
    }

    /// Joins the lookup of this DID that is under way in the same lane, or starts one.
    fn join_or_start(
        &self,
        did: &Did,
        renew: Renew,
        asker: Asker,
    ) -> Result<Pending<Outcome>, ResolveError> {
        let lane = Lane::of(&DidLocation::of(did)?, asker);
        let mut lookups = self.0.lookups.lock();
        if let Some(pending) = lookups.find(did, lane) {
            return Ok(pending);
        }
        // A lookup may have ended between our look and the lock.
        if let Some(outcome) = self.content(did, renew) {
            return Ok(Pending::told(outcome));
        }
        if lookups.len(lane) >= self.0.settings.load().lookups_max {
            return Err(ResolveError::Busy);
        }
        let (told, pending) = Pending::new();
        lookups.insert(did, lane, pending.clone());
        drop(lookups);
        // A task of its own: the one who asked first may hang up, the others wait.
        let lookup = Lookup {
            cache: self.clone(),
            did: did.clone(),
            lane,
            renew,
        };
        self.0.shutdown.spawn(async move {
            let outcome = lookup.run(asker).await;
            drop(lookup);
            told.tell(outcome);
        });
        Ok(pending)
    }
}

/// When a lookup is started although one is remembered.
#[derive(Clone, Copy, Debug)]
enum Renew {
    Always,
    IfExpired,
    IfStale,
}

impl Renew {
    fn is_content_with(self, standing: Standing) -> bool {
        match self {
            Self::Always => false,
            Self::IfExpired => standing != Standing::Expired,
            Self::IfStale => standing == Standing::Fresh,
        }
    }
}

/// One lookup. Leaves the list of those under way however it ends.
struct Lookup {
    cache: KeyCache,
    did: Did,
    lane: Lane,
    renew: Renew,
}

impl Lookup {
    async fn run(&self, asker: Asker) -> Outcome {
        let start = Instant::now();
        let outcome = self.outcome(asker).await;
        let label = match &outcome {
            Err(ResolveError::Busy | ResolveError::Resting { .. }) => "busy",
            outcome => Ending::of(outcome).label(),
        };
        counter!("relay_auth_lookups_total", "outcome" => label).increment(1);
        histogram!("relay_auth_lookup_seconds").record(start.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            tracing::debug!(error = error as &dyn std::error::Error, "no key");
        }
        outcome
    }

    async fn outcome(&self, asker: Asker) -> Outcome {
        let (resolver, location) = (&self.cache.0.resolver, DidLocation::of(&self.did)?);
        // Whoever finds no turn has learned nothing of the account: that is not remembered,
        // or one network could keep an account from being looked up for all others.
        let turn = resolver.turn(&location, asker).await?;
        // Another lane may have been faster.
        if let Some(outcome) = self.cache.content(&self.did, self.renew) {
            return outcome;
        }
        let found = resolver.signing_key(&self.did, &location, turn).await;
        let outcome = found.map(Arc::new);
        let cache = &self.cache.0;
        cache
            .remembered
            .note(&self.did, &outcome, &cache.settings.load());
        outcome
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        self.cache.0.lookups.lock().remove(&self.did, self.lane);
    }
}

fn count_use(standing: &'static str) {
    counter!("relay_auth_keys_total", "standing" => standing).increment(1);
}

fn count_refresh(outcome: &'static str) {
    counter!("relay_auth_forced_refreshes_total", "outcome" => outcome).increment(1);
}

//! The signing keys of the accounts that talk to us, looked up once for all who
//! ask, remembered for a while, and refreshed before they are missed.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use metrics::{counter, gauge, histogram};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::watch;
use tokio::time::Instant;

use super::did_location::DidLocation;
use super::freshness::{Lifetimes, Lookup, Standing};
use super::refresh_budget::RefreshBudget;
use super::resolver::Resolver;
use super::signature::PublicKey;
use super::{ResolveError, Settings};
use crate::runtime::{Live, Shutdown};
use crate::types::Did;

type Outcome = Result<Arc<PublicKey>, ResolveError>;
type Flight = watch::Receiver<Option<Outcome>>;

/// Cheap to clone; all clones are one cache.
#[derive(Clone)]
pub(crate) struct KeyCache(Arc<Inner>);

struct Inner {
    resolver: Resolver,
    settings: Live<Settings>,
    entries: Cache<Did, Entry>,
    /// The lookups under way. Held for moments only, never across an await.
    flights: Mutex<Flights>,
    budget: Mutex<RefreshBudget>,
    shutdown: Shutdown,
}

/// By method, each with room of its own: anyone can set up hosts that keep the web's busy.
#[derive(Default)]
struct Flights {
    plc: HashMap<Did, Flight>,
    web: HashMap<Did, Flight>,
}

impl Flights {
    fn like(&mut self, location: &DidLocation<'_>) -> &mut HashMap<Did, Flight> {
        match location {
            DidLocation::Plc => &mut self.plc,
            DidLocation::Web { .. } => &mut self.web,
        }
    }

    fn tell(&self) {
        let running = self.plc.len() + self.web.len();
        gauge!("relay_auth_lookups_running").set(running as f64);
    }
}

#[derive(Clone)]
struct Entry {
    outcome: Outcome,
    found_at: Instant,
    tried_at: Instant,
}

impl KeyCache {
    pub(crate) fn new(
        resolver: Resolver,
        settings: Live<Settings>,
        budget: RefreshBudget,
        shutdown: Shutdown,
    ) -> Self {
        let entries_max = settings.load().keys_max;
        Self(Arc::new(Inner {
            resolver,
            settings,
            entries: Cache::new(entries_max),
            flights: Mutex::default(),
            budget: Mutex::new(budget),
            shutdown,
        }))
    }

    /// The account's key: from memory, or by one lookup shared by all who wait.
    pub(crate) async fn key(&self, did: &Did) -> Outcome {
        // Such a DID takes no room here.
        DidLocation::of(did)?;
        match self.remembered(did) {
            Some((outcome, Standing::Fresh)) => {
                count_use("fresh");
                outcome
            }
            Some((outcome, Standing::Stale)) => {
                count_use("stale");
                // Nobody waits for it. When there is no room for one more lookup,
                // the next caller tries again.
                let _ = self.board(did, Boarding::IfStale);
                outcome
            }
            Some((_, Standing::Expired)) | None => {
                count_use("missed");
                land(self.board(did, Boarding::IfExpired)?).await
            }
        }
    }

    /// Looks the key up anew, because a signature did not fit the one `seen`.
    /// Nothing, when it is still the same or when it is too early to ask again.
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
        if !self
            .0
            .budget
            .lock()
            .spend(did, network, Instant::now().into_std())
        {
            count_refresh("limited");
            return Ok(None);
        }
        let key = match self.board(did, Boarding::Always) {
            Ok(boarded) => land(boarded).await,
            Err(error) => Err(error),
        };
        let changed = key.map(|key| (*key != *seen).then_some(key));
        count_refresh(match &changed {
            Ok(Some(_)) => "changed",
            Ok(None) => "same",
            Err(_) => "failed",
        });
        changed
    }

    fn remembered(&self, did: &Did) -> Option<(Outcome, Standing)> {
        let entry = self.0.entries.get(did)?;
        let standing = self.standing(&entry);
        Some((entry.outcome, standing))
    }

    fn standing(&self, entry: &Entry) -> Standing {
        let lookup = match &entry.outcome {
            Ok(_) => Lookup::Found,
            Err(error) if error.is_definite() => Lookup::Absent,
            Err(_) => Lookup::Failed,
        };
        let (age, tried) = (entry.found_at.elapsed(), entry.tried_at.elapsed());
        Lifetimes::of(&self.0.settings.load()).standing(lookup, age, tried)
    }

    /// Joins the lookup of this DID that is under way, or starts one.
    fn board(&self, did: &Did, boarding: Boarding) -> Result<Boarded, ResolveError> {
        let location = DidLocation::of(did)?;
        let mut all = self.0.flights.lock();
        let flights = all.like(&location);
        if let Some(flight) = flights.get(did) {
            return Ok(Boarded::Flight(flight.clone()));
        }
        // A lookup may have ended between our look and the lock.
        if let Some((outcome, standing)) = self.remembered(did)
            && boarding.is_content_with(standing)
        {
            return Ok(Boarded::Arrived(outcome));
        }
        if flights.len() >= self.0.settings.load().lookups_max {
            return Err(ResolveError::Busy);
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(did.clone(), receiver.clone());
        all.tell();
        drop(all);
        // A task of its own: the one who asked first may hang up, the others wait.
        let pilot = Pilot {
            cache: self.clone(),
            did: did.clone(),
        };
        self.0.shutdown.spawn(async move {
            let outcome = pilot.fly().await;
            drop(pilot);
            sender.send_replace(Some(outcome));
        });
        Ok(Boarded::Flight(receiver))
    }

    /// Remembers how a lookup ended. A network failure does not displace a key
    /// that is still good.
    fn remember(&self, did: &Did, outcome: &Outcome) {
        let now = Instant::now();
        let failed = matches!(outcome, Err(error) if !error.is_definite());
        let kept = self.0.entries.get(did).filter(|entry| {
            failed && entry.outcome.is_ok() && self.standing(entry) != Standing::Expired
        });
        let entry = match kept {
            Some(entry) => Entry {
                tried_at: now,
                ..entry
            },
            None => Entry {
                outcome: outcome.clone(),
                found_at: now,
                tried_at: now,
            },
        };
        self.0.entries.insert(did.clone(), entry);
        gauge!("relay_auth_keys_remembered").set(self.0.entries.len() as f64);
    }
}

/// When a lookup is started although one is remembered.
#[derive(Clone, Copy, Debug)]
enum Boarding {
    Always,
    IfExpired,
    IfStale,
}

impl Boarding {
    fn is_content_with(self, standing: Standing) -> bool {
        match self {
            Self::Always => false,
            Self::IfExpired => standing != Standing::Expired,
            Self::IfStale => standing == Standing::Fresh,
        }
    }
}

enum Boarded {
    Arrived(Outcome),
    Flight(Flight),
}

/// Waits for a lookup's end. Each has its own deadlines, so this one ends too.
async fn land(boarded: Boarded) -> Outcome {
    match boarded {
        Boarded::Arrived(outcome) => outcome,
        Boarded::Flight(mut flight) => {
            let landed = flight.wait_for(Option::is_some).await;
            let outcome = landed.ok().and_then(|outcome| outcome.clone());
            // The task was cut off, by the end of the process.
            outcome.unwrap_or(Err(ResolveError::Busy))
        }
    }
}

/// One lookup. Leaves the list of flights however it ends.
struct Pilot {
    cache: KeyCache,
    did: Did,
}

impl Pilot {
    async fn fly(&self) -> Outcome {
        let start = Instant::now();
        let resolved = self.cache.0.resolver.signing_key(&self.did).await;
        let outcome = resolved.map(Arc::new);
        let label = match &outcome {
            Ok(_) => "found",
            Err(error) if error.is_definite() => "absent",
            Err(_) => "failed",
        };
        counter!("relay_auth_lookups_total", "outcome" => label).increment(1);
        histogram!("relay_auth_lookup_seconds").record(start.elapsed().as_secs_f64());
        if let Err(error) = &outcome {
            tracing::debug!(error = error as &dyn std::error::Error, "no key");
        }
        self.cache.remember(&self.did, &outcome);
        outcome
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        let mut flights = self.cache.0.flights.lock();
        if let Ok(location) = DidLocation::of(&self.did) {
            flights.like(&location).remove(&self.did);
        }
        flights.tell();
    }
}

fn count_use(standing: &'static str) {
    counter!("relay_auth_keys_total", "standing" => standing).increment(1);
}

fn count_refresh(outcome: &'static str) {
    counter!("relay_auth_forced_refreshes_total", "outcome" => outcome).increment(1);
}

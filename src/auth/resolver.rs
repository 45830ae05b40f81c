//! From a DID to its signing key, over the network. Two separate bounds on how
//! many lookups run at once, so that slow `did:web` hosts, which anyone can
//! set up, take nothing from the accounts of the PLC directory; and among the
//! former everyone has a share (`turns`).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::did_document::signing_key;
use super::did_location::{DidLocation, domain_of};
use super::signature::PublicKey;
use super::turns::{Asker, Turn, WebTurns};
use super::{ResolveError, Settings};
use crate::outbound::{Endpoint, FetchError, Fetched, Fetcher, Outage, Page, Reach};
use crate::runtime::Live;
use crate::types::Did;

pub(crate) struct Resolver {
    fetcher: Fetcher,
    plc: Endpoint,
    plc_outage: Outage,
    /// Until when the directory is left alone, because it said that it is asked too often.
    plc_rests_until: Mutex<Option<Instant>>,
    settings: Live<Settings>,
    plc_permits: Arc<Semaphore>,
    web_turns: WebTurns,
    web_reach: Reach,
}

impl Resolver {
    pub(crate) fn new(fetcher: Fetcher, plc: Endpoint, settings: Live<Settings>) -> Self {
        let now = settings.snapshot();
        Self {
            fetcher,
            plc,
            plc_outage: Outage::of("auth.plc_url"),
            plc_rests_until: Mutex::default(),
            settings,
            plc_permits: Arc::new(Semaphore::new(now.plc_lookups_max)),
            web_turns: WebTurns::new(now.web_lookups_max),
            web_reach: Reach::PublicOnly,
        }
    }

    /// The same, with every host of the web at this address.
    #[cfg(test)]
    pub(crate) fn with_web_at(mut self, address: std::net::SocketAddr) -> Self {
        self.web_reach = Reach::Exactly(address);
        self
    }

    /// Waits for a turn to look a key up, no longer than the timeout.
    pub(crate) async fn turn(
        &self,
        location: &DidLocation<'_>,
        asker: Asker,
    ) -> Result<Turn, ResolveError> {
        let (patience, pending_max) = {
            let settings = self.settings.load();
            (settings.resolve_timeout, settings.lookups_max)
        };
        let turn = async {
            match location {
                DidLocation::Plc => {
                    let turn = Turn::of_all(&self.plc_permits).await;
                    self.check_plc_rest()?;
                    turn
                }
                DidLocation::Web { host } => {
                    let domain = domain_of(host);
                    self.web_turns.take(asker, domain, pending_max).await
                }
            }
            .ok_or(ResolveError::Busy)
        };
        timeout(patience, turn)
            .await
            .unwrap_or(Err(ResolveError::Busy))
    }

    /// Looks the key up in its turn, no longer than the timeout. The turn may last longer.
    pub(crate) async fn signing_key(
        &self,
        did: &Did,
        location: &DidLocation<'_>,
        turn: Turn,
    ) -> Result<PublicKey, ResolveError> {
        let patience = self.settings.load().resolve_timeout;
        let fetched = timeout(patience, self.fetch(did, location, Arc::new(turn))).await;
        let fetched = match fetched {
            Ok(fetched) => fetched.map_err(ResolveError::from),
            Err(_) => Err(ResolveError::TimedOut),
        };
        // Whether a host of the web answers, its owner knows.
        if let DidLocation::Plc = location {
            match &fetched {
                Ok(_) => self.plc_outage.answered(),
                Err(ResolveError::Fetch(error)) => {
                    self.plc_outage.failed(error);
                    self.note_rest(*error);
                    self.check_plc_rest()?;
                }
                Err(error) => self.plc_outage.failed(error),
            }
        }
        match fetched? {
            Fetched::Document(bytes) => Ok(signing_key(did, &bytes)?),
            Fetched::Absent => Err(ResolveError::NotFound),
        }
    }

    fn note_rest(&self, error: FetchError) {
        if let FetchError::Limited {
            retry_after: Some(wait),
        } = error
        {
            *self.plc_rests_until.lock() = Some(Instant::now() + wait.min(PLC_REST_MAX));
        }
    }

    /// Refused for as long as the directory is left alone.
    fn check_plc_rest(&self) -> Result<(), ResolveError> {
        let until = *self.plc_rests_until.lock();
        let wait = until.and_then(|until| until.checked_duration_since(Instant::now()));
        wait.map_or(Ok(()), |wait| Err(ResolveError::Resting { wait }))
    }

    async fn fetch(
        &self,
        did: &Did,
        location: &DidLocation<'_>,
        turn: Arc<Turn>,
    ) -> Result<Fetched, FetchError> {
        match location {
            DidLocation::Plc => {
                let path = self.plc.path(did.expose());
                self.fetcher.get(&self.plc.page(&path), turn).await
            }
            DidLocation::Web { host } => {
                let page = Page {
                    host,
                    port: 443,
                    path: "/.well-known/did.json",
                    tls: true,
                    reach: self.web_reach,
                };
                self.fetcher.get(&page, turn).await
            }
        }
    }
}

/// The directory rests for no longer than this: a slip of its must not keep every new account out.
const PLC_REST_MAX: Duration = Duration::from_secs(60);

//! From a DID to its signing key, over the network. Two separate bounds on how
//! many lookups run at once, so that slow `did:web` hosts, which anyone can
//! set up, take nothing from the accounts of the PLC directory.

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::did_document::signing_key;
use super::did_location::DidLocation;
use super::signature::PublicKey;
use super::{ResolveError, Settings};
use crate::outbound::{Endpoint, FetchError, Fetched, Fetcher, Page, Reach};
use crate::runtime::Live;
use crate::types::Did;

pub(crate) struct Resolver {
    fetcher: Fetcher,
    plc: Endpoint,
    settings: Live<Settings>,
    plc_permits: Semaphore,
    web_permits: Semaphore,
}

impl Resolver {
    pub(crate) fn new(fetcher: Fetcher, plc: Endpoint, settings: Live<Settings>) -> Self {
        let now = settings.snapshot();
        Self {
            fetcher,
            plc,
            settings,
            plc_permits: Semaphore::new(now.plc_lookups_max),
            web_permits: Semaphore::new(now.web_lookups_max),
        }
    }

    /// Looks the key up, waiting at most twice the timeout: once for a turn, once
    /// for the document.
    pub(crate) async fn signing_key(&self, did: &Did) -> Result<PublicKey, ResolveError> {
        let location = DidLocation::of(did)?;
        let permits = match location {
            DidLocation::Plc => &self.plc_permits,
            DidLocation::Web { .. } => &self.web_permits,
        };
        let patience = self.settings.load().resolve_timeout;
        let turn = timeout(patience, permits.acquire()).await;
        let Ok(Ok(_permit)) = turn else {
            return Err(ResolveError::Busy);
        };
        let fetched = timeout(patience, self.fetch(did, &location))
            .await
            .map_err(|_| ResolveError::TimedOut)?;
        match fetched {
            Ok(Fetched::Document(bytes)) => Ok(signing_key(did, &bytes)?),
            Ok(Fetched::Absent) => Err(ResolveError::NotFound),
            Err(error) => Err(error.into()),
        }
    }

    async fn fetch(&self, did: &Did, location: &DidLocation<'_>) -> Result<Fetched, FetchError> {
        match location {
            DidLocation::Plc => {
                let path = self.plc.path(did.expose());
                self.fetcher.get(&self.plc.page(&path)).await
            }
            DidLocation::Web { host } => {
                let page = Page {
                    host,
                    port: 443,
                    path: "/.well-known/did.json",
                    tls: true,
                    reach: Reach::PublicOnly,
                };
                self.fetcher.get(&page).await
            }
        }
    }
}

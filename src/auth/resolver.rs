//! From a DID to its signing key, over the network. Two separate bounds on how
//! many lookups run at once, so that slow `did:web` hosts, which anyone can
//! set up, take nothing from the accounts of the PLC directory.

use http::Uri;
use http::uri::Scheme;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::did_document::signing_key;
use super::did_location::DidLocation;
use super::fetch::{Fetched, Fetcher, Page, Reach};
use super::signature::PublicKey;
use super::{FetchError, ResolveError, Settings};
use crate::runtime::Live;
use crate::types::Did;

/// `PLC_URL` is not an http or https URL with a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be an http:// or https:// URL without a query")]
pub struct PlcUrlError;

/// The PLC directory, as the operator configured it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PlcDirectory {
    host: String,
    port: u16,
    /// Without a slash at its end.
    base_path: String,
    tls: bool,
}

impl PlcDirectory {
    pub(crate) fn parse(url: &str) -> Result<Self, PlcUrlError> {
        let uri: Uri = url.parse().map_err(|_| PlcUrlError)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(PlcUrlError),
        };
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or(PlcUrlError)?;
        if uri.query().is_some() {
            return Err(PlcUrlError);
        }
        Ok(Self {
            // An IPv6 literal is written in brackets in a URL, and without in a name.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            tls,
        })
    }
}

pub(crate) struct Resolver {
    fetcher: Fetcher,
    plc: PlcDirectory,
    settings: Live<Settings>,
    plc_permits: Semaphore,
    web_permits: Semaphore,
}

impl Resolver {
    pub(crate) fn new(fetcher: Fetcher, plc: PlcDirectory, settings: Live<Settings>) -> Self {
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
                let path = format!("{}/{}", self.plc.base_path, did.expose());
                let page = Page {
                    host: &self.plc.host,
                    port: self.plc.port,
                    path: &path,
                    tls: self.plc.tls,
                    reach: Reach::Anywhere,
                };
                self.fetcher.get(&page).await
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

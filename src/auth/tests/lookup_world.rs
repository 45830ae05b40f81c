//! A directory with one account, and a cache that asks it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::{Account, Curve as KeyCurve};

use crate::auth::key_cache::KeyCache;
use crate::auth::refresh_budget::RefreshBudget;
use crate::auth::resolver::Resolver;
use crate::auth::signature::{Curve, PublicKey};
use crate::auth::{ResolveError, Settings};
use crate::outbound::{Endpoint, Fetcher};
use crate::runtime::{Live, Shutdown};
use crate::types::Did;

pub(super) const LONG: Duration = Duration::from_secs(3600);

/// A directory with one account, and a cache that asks it.
pub(super) struct World {
    pub(super) directory: Directory,
    pub(super) account: Account,
    pub(super) did: Did,
    pub(super) cache: KeyCache,
}

impl World {
    /// Everything is remembered for an hour, failures not at all.
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = Directory::start().await.unwrap();
        let account = Account::generate(KeyCurve::P256).unwrap();
        directory.publish(&account);
        let mut settings = Settings {
            resolve_timeout: Duration::from_millis(500),
            plc_lookups_max: 8,
            // Whoever asks for one waits for its turn until it is told to come back.
            web_lookups_max: 0,
            keys_max: 100,
            lookups_max: 100,
            key_fresh_for: LONG,
            key_stale_for: LONG,
            key_absent_for: LONG,
            lookup_pause: Duration::ZERO,
            ..Settings::default()
        };
        change(&mut settings);
        let settings = Live::new(settings);
        let fetcher = Fetcher::new(DOCUMENT_LEN_MAX).unwrap();
        let plc = Endpoint::parse(&directory.url()).unwrap();
        let cache = KeyCache::new(
            Resolver::new(fetcher, plc, settings.clone()),
            settings,
            RefreshBudget::new(LONG, 20, 100),
            Shutdown::default(),
        );
        Self {
            did: Did::parse(account.did()).unwrap(),
            directory,
            account,
            cache,
        }
    }

    pub(super) async fn key(&self) -> Result<PublicKey, ResolveError> {
        self.cache
            .key(&self.did, NETWORK)
            .await
            .map(|known| (*known.key).clone())
    }

    /// The key that the account has now, whatever the directory says.
    pub(super) fn current(&self) -> PublicKey {
        PublicKey::of_point(Curve::P256, &self.account.key().compressed()).unwrap()
    }

    pub(super) fn rotate(&mut self) {
        self.account.rotate(KeyCurve::P256).unwrap();
        self.directory.publish(&self.account);
    }

    pub(super) fn requests(&self) -> usize {
        self.directory.requests_for(self.account.did())
    }
}

pub(super) const DOCUMENT_LEN_MAX: usize = 16 * 1024;

/// Where those who ask are.
pub(super) const NETWORK: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

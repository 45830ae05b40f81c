//! How keys are looked up, remembered and refreshed.

use std::time::Duration;

use mls_relay_loadtest::directory::{Directory, Fault};
use mls_relay_loadtest::identity::{Account, Curve as KeyCurve};

use super::eventually;
use crate::auth::did_document::DocumentError;
use crate::auth::fetch::Fetcher;
use crate::auth::freshness::Lifetimes;
use crate::auth::key_cache::{KeyCache, KeyCacheLimits};
use crate::auth::refresh_budget::RefreshBudget;
use crate::auth::resolver::{PlcDirectory, Resolver, ResolverLimits};
use crate::auth::signature::{Curve, PublicKey};
use crate::auth::{FetchError, ResolveError};
use crate::runtime::Shutdown;
use crate::types::Did;

const LONG: Duration = Duration::from_secs(3600);

/// Everything remembered for an hour, failures not at all.
const LIFETIMES: Lifetimes = Lifetimes {
    fresh_for: LONG,
    stale_for: LONG,
    absent_for: LONG,
    pause: Duration::ZERO,
};

/// A directory with one account, and a cache that asks it.
struct World {
    directory: Directory,
    account: Account,
    did: Did,
    cache: KeyCache,
}

impl World {
    async fn new(lifetimes: Lifetimes) -> Self {
        Self::with_flights(lifetimes, 100).await
    }

    async fn with_flights(lifetimes: Lifetimes, flights_max: usize) -> Self {
        let directory = Directory::start().await.unwrap();
        let account = Account::generate(KeyCurve::P256).unwrap();
        directory.publish(&account);
        let limits = ResolverLimits {
            timeout: Duration::from_millis(500),
            plc_at_once_max: 8,
            web_at_once_max: 8,
        };
        let fetcher = Fetcher::new(DOCUMENT_LEN_MAX).unwrap();
        let plc = PlcDirectory::parse(&directory.url()).unwrap();
        let cache_limits = KeyCacheLimits {
            entries_max: 100,
            flights_max,
            lifetimes,
        };
        let cache = KeyCache::new(
            Resolver::new(fetcher, plc, limits),
            cache_limits,
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

    async fn key(&self) -> Result<PublicKey, ResolveError> {
        self.cache.key(&self.did).await.map(|key| (*key).clone())
    }

    /// The key that the account has now, whatever the directory says.
    fn current(&self) -> PublicKey {
        PublicKey::of_point(Curve::P256, &self.account.key().compressed()).unwrap()
    }

    fn rotate(&mut self) {
        self.account.rotate(KeyCurve::P256).unwrap();
        self.directory.publish(&self.account);
    }

    fn requests(&self) -> usize {
        self.directory.requests_for(self.account.did())
    }
}

const DOCUMENT_LEN_MAX: usize = 16 * 1024;

#[tokio::test]
async fn one_lookup_serves_all_who_wait_and_all_who_come_later() {
    let world = World::new(LIFETIMES).await;
    world.directory.set_latency(Duration::from_millis(50));
    let crowd = (0..50).map(|_| world.key());
    for key in futures_util::future::join_all(crowd).await {
        assert!(key.unwrap() == world.current());
    }
    assert!(world.key().await.unwrap() == world.current());
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn who_asked_first_may_hang_up_without_harm_to_the_others() {
    let world = World::new(LIFETIMES).await;
    world.directory.set_latency(Duration::from_millis(50));
    let first = tokio::time::timeout(Duration::from_millis(10), world.key()).await;
    assert!(first.is_err());
    assert!(world.key().await.unwrap() == world.current());
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn a_stale_key_is_used_at_once_and_replaced_beside_that() {
    let mut world = World::new(Lifetimes {
        fresh_for: Duration::ZERO,
        ..LIFETIMES
    })
    .await;
    let old = world.key().await.unwrap();
    world.rotate();
    world.directory.set_latency(Duration::from_millis(50));
    assert!(world.key().await.unwrap() == old);
    eventually(async || world.key().await.unwrap() == world.current()).await;
}

#[tokio::test]
async fn an_outage_leaves_a_stale_key_in_use() {
    let world = World::new(Lifetimes {
        fresh_for: Duration::ZERO,
        ..LIFETIMES
    })
    .await;
    world.key().await.unwrap();
    world.directory.set_fault(Fault::Status(500));
    let still_known = async || world.key().await.unwrap() == world.current();
    eventually(async || still_known().await && world.requests() > 3).await;
    assert!(still_known().await);
}

#[tokio::test]
async fn a_stale_key_is_not_looked_up_again_within_the_pause() {
    let world = World::new(Lifetimes {
        fresh_for: Duration::ZERO,
        pause: LONG,
        ..LIFETIMES
    })
    .await;
    for _ in 0..20 {
        assert!(world.key().await.unwrap() == world.current());
    }
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn an_expired_key_is_not_used_and_the_outage_is_told_as_one() {
    let world = World::new(Lifetimes {
        fresh_for: Duration::ZERO,
        stale_for: Duration::ZERO,
        ..LIFETIMES
    })
    .await;
    world.key().await.unwrap();
    world.directory.set_fault(Fault::Status(503));
    let error = world.key().await.unwrap_err();
    assert!(!error.is_definite());
    world.directory.set_fault(Fault::None);
    assert!(world.key().await.unwrap() == world.current());
}

#[tokio::test]
async fn an_absent_account_is_remembered_for_a_while() {
    let world = World::new(LIFETIMES).await;
    world.directory.remove(world.account.did());
    for _ in 0..3 {
        assert!(matches!(world.key().await, Err(ResolveError::NotFound)));
    }
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn an_account_that_appears_is_found_when_its_absence_has_aged() {
    let world = World::new(Lifetimes {
        absent_for: Duration::ZERO,
        ..LIFETIMES
    })
    .await;
    world.directory.remove(world.account.did());
    assert!(world.key().await.is_err());
    world.directory.publish(&world.account);
    assert!(world.key().await.is_ok());
}

#[tokio::test]
async fn no_failure_of_the_directory_is_taken_for_a_word_on_the_account() {
    let world = World::new(LIFETIMES).await;
    let elsewhere = Directory::start().await.unwrap();
    elsewhere.publish(&world.account);
    let target = format!("{}/{}", elsewhere.url(), world.account.did());
    for fault in [
        Fault::Status(500),
        Fault::Status(429),
        Fault::Status(403),
        Fault::RedirectTo(target),
        Fault::Oversized(DOCUMENT_LEN_MAX + 1),
        Fault::Truncated,
        Fault::Silent,
    ] {
        world.directory.set_fault(fault.clone());
        let error = world.key().await.unwrap_err();
        assert!(!error.is_definite(), "{fault:?}: {error:?}");
    }
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
    world.directory.set_fault(Fault::None);
    assert!(world.key().await.is_ok());
}

#[tokio::test]
async fn slowness_and_size_have_their_own_names() {
    let world = World::new(LIFETIMES).await;
    world.directory.set_latency(LONG);
    assert!(matches!(world.key().await, Err(ResolveError::TimedOut)));
    world.directory.set_latency(Duration::ZERO);
    world
        .directory
        .set_fault(Fault::Oversized(DOCUMENT_LEN_MAX));
    let error = world.key().await.unwrap_err();
    assert!(matches!(error, ResolveError::Fetch(FetchError::Body)));
}

#[tokio::test]
async fn after_a_failure_nobody_asks_again_before_the_pause_is_over() {
    let world = World::new(Lifetimes {
        pause: Duration::from_millis(200),
        ..LIFETIMES
    })
    .await;
    world.directory.set_fault(Fault::Status(500));
    for _ in 0..10 {
        assert!(world.key().await.is_err());
    }
    assert_eq!(world.requests(), 1);
    world.directory.set_fault(Fault::None);
    eventually(async || world.key().await.is_ok()).await;
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn a_document_of_another_account_is_no_document() {
    let world = World::new(LIFETIMES).await;
    let other = Account::generate(KeyCurve::P256).unwrap();
    world.directory.put(world.account.did(), other.document());
    let error = world.key().await.unwrap_err();
    let expected = DocumentError::OtherSubject;
    assert!(matches!(error, ResolveError::Document(reason) if reason == expected));
}

#[tokio::test]
async fn a_did_that_cannot_be_looked_up_is_refused_without_a_request() {
    let world = World::new(LIFETIMES).await;
    for did in ["did:web:localhost", "did:key:z6Mk", "did:plc:x"] {
        let error = world.cache.key(&Did::parse(did).unwrap()).await;
        assert!(matches!(error, Err(ResolveError::Location(_))), "{did}");
    }
    assert_eq!(world.directory.requests(), 0);
}

#[tokio::test]
async fn past_the_bound_on_lookups_callers_are_told_to_wait() {
    let world = World::with_flights(LIFETIMES, 1).await;
    world.directory.set_fault(Fault::Silent);
    let other = Account::generate(KeyCurve::P256).unwrap();
    let other = Did::parse(other.did()).unwrap();
    let (first, second) = tokio::join!(world.key(), world.cache.key(&other));
    assert!(matches!(first, Err(ResolveError::TimedOut)));
    assert!(matches!(second, Err(ResolveError::Busy)));
}

#[tokio::test]
async fn a_wrong_signature_brings_the_new_key_once_and_then_rests() {
    let mut world = World::new(LIFETIMES).await;
    let network = [192, 0, 2, 1].into();
    let old = world.key().await.unwrap();
    world.rotate();
    let other = world.cache.other_key(&world.did, &old, network).await;
    assert!(*other.unwrap().unwrap() == world.current());
    // The new key is remembered, also for those whose signature was by it.
    assert!(world.key().await.unwrap() == world.current());
    let again = world.cache.other_key(&world.did, &old, network).await;
    assert!(*again.unwrap().unwrap() == world.current());
    assert_eq!(world.requests(), 2);
    // Wrong under the new key too: too early to ask again.
    let current = world.current();
    let third = world.cache.other_key(&world.did, &current, network).await;
    assert!(third.unwrap().is_none());
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn a_wrong_signature_under_an_unchanged_key_changes_nothing() {
    let world = World::new(LIFETIMES).await;
    let network = [192, 0, 2, 1].into();
    let key = world.key().await.unwrap();
    let other = world.cache.other_key(&world.did, &key, network).await;
    assert!(other.unwrap().is_none());
    assert_eq!(world.requests(), 2);
}

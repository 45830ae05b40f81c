//! What becomes of callers while the directory is broken, slow or overrun.

use std::time::Duration;

use mls_relay_loadtest::directory::{Directory, Fault};
use mls_relay_loadtest::identity::{Account, Curve as KeyCurve};

use super::eventually;
use super::lookup_world::{DOCUMENT_LEN_MAX, LONG, NETWORK, World};
use crate::auth::{AuthError, ResolveError};
use crate::outbound::FetchError;
use crate::telemetry::Log;
use crate::types::Did;
use crate::wire::{XrpcError, XrpcStatus};

#[tokio::test]
async fn an_outage_leaves_a_stale_key_in_use() {
    let world = World::with(|settings| settings.key_fresh_for = Duration::ZERO).await;
    world.key().await.unwrap();
    world.directory.set_fault(Fault::Status(500));
    let still_known = async || world.key().await.unwrap() == world.current();
    eventually(async || still_known().await && world.requests() > 3).await;
    assert!(still_known().await);
}

#[tokio::test]
async fn an_expired_key_is_not_used_and_the_outage_is_told_as_one() {
    let world = World::with(|settings| {
        settings.key_fresh_for = Duration::ZERO;
        settings.key_stale_for = Duration::ZERO;
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
async fn no_failure_of_the_directory_is_taken_for_a_word_on_the_account() {
    let world = World::new().await;
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
    let world = World::new().await;
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
    let world = World::with(|settings| settings.lookup_pause = Duration::from_millis(200)).await;
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
async fn a_directory_that_is_asked_too_often_is_left_alone_for_as_long_as_it_says() {
    let world = World::new().await;
    world.directory.set_fault(Fault::Limited(3));
    // Whoever met the 429, and whoever came after, is told how long to wait.
    for _ in 0..2 {
        let error = world.key().await.unwrap_err();
        world.directory.set_fault(Fault::None);
        assert!(!error.is_definite());
        let told = XrpcError::from(AuthError::Issuer {
            source: error,
            pause: Duration::ZERO,
        });
        assert_eq!(told.status, XrpcStatus::Unavailable);
        let wait = told.retry_after.unwrap();
        assert!((2.0..=3.0).contains(&wait.as_secs_f64()), "{wait:?}");
    }
    assert_eq!(world.requests(), 1);
    eventually(async || world.key().await.is_ok()).await;
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn operators_hear_once_of_an_outage_and_why_and_once_of_its_end() {
    let (log, _listening) = Log::listen();
    let world = World::new().await;
    world.directory.set_fault(Fault::Status(503));
    for _ in 0..3 {
        assert!(world.key().await.is_err());
    }
    world.directory.set_fault(Fault::None);
    assert!(world.key().await.is_ok());
    let said = log.text();
    let told: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    let [began, ended] = told.as_slice() else {
        panic!("{said}");
    };
    assert!(
        began.contains("auth.plc_url") && began.contains("503"),
        "{began}"
    );
    assert!(ended.contains("answers again"), "{ended}");
}

#[tokio::test]
async fn past_the_bound_on_lookups_callers_are_told_to_wait() {
    let world = World::with(|settings| settings.lookups_max = 1).await;
    world.directory.set_fault(Fault::Silent);
    let other = Account::generate(KeyCurve::P256).unwrap();
    let other = Did::parse(other.did()).unwrap();
    let (first, second) = tokio::join!(world.key(), world.cache.key(&other, NETWORK));
    assert!(matches!(first, Err(ResolveError::TimedOut)));
    assert!(matches!(second, Err(ResolveError::Busy)));
}

#[tokio::test]
async fn hosts_that_keep_the_web_busy_take_no_places_of_the_directory() {
    let world = World::with(|settings| settings.lookups_max = 3).await;
    let web = |number| Did::parse(&format!("did:web:{number}.example.com")).unwrap();
    let dids: Vec<_> = (0..4).map(web).collect();
    let waiting = dids.iter().map(|did| world.cache.key(did, NETWORK));
    let (web, plc) = tokio::join!(futures_util::future::join_all(waiting), world.key());
    assert!(web.iter().all(|key| matches!(key, Err(ResolveError::Busy))));
    assert_eq!(plc.unwrap(), world.current());
}

//! How keys are looked up, remembered and refreshed.

use std::time::Duration;

use super::eventually;
use super::lookup_world::{LONG, NETWORK, World};
use crate::auth::ResolveError;
use crate::types::Did;

#[tokio::test]
async fn one_lookup_serves_all_who_wait_and_all_who_come_later() {
    let world = World::new().await;
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
    let world = World::new().await;
    world.directory.set_latency(Duration::from_millis(50));
    let first = tokio::time::timeout(Duration::from_millis(10), world.key()).await;
    assert!(first.is_err());
    assert!(world.key().await.unwrap() == world.current());
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn a_stale_key_is_used_at_once_and_replaced_beside_that() {
    let mut world = World::with(|settings| settings.key_fresh_for = Duration::ZERO).await;
    let old = world.key().await.unwrap();
    world.rotate();
    world.directory.set_latency(Duration::from_millis(50));
    assert!(world.key().await.unwrap() == old);
    eventually(async || world.key().await.unwrap() == world.current()).await;
}

#[tokio::test]
async fn a_stale_key_is_not_looked_up_again_within_the_pause() {
    let world = World::with(|settings| {
        settings.key_fresh_for = Duration::ZERO;
        settings.lookup_pause = LONG;
    })
    .await;
    for _ in 0..20 {
        assert!(world.key().await.unwrap() == world.current());
    }
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn an_absent_account_is_remembered_for_a_while() {
    let world = World::new().await;
    world.directory.remove(world.account.did());
    for _ in 0..3 {
        assert!(matches!(world.key().await, Err(ResolveError::NotFound)));
    }
    assert_eq!(world.requests(), 1);
}

#[tokio::test]
async fn an_account_that_appears_is_found_when_its_absence_has_aged() {
    let world = World::with(|settings| settings.key_absent_for = Duration::ZERO).await;
    world.directory.remove(world.account.did());
    assert!(world.key().await.is_err());
    world.directory.publish(&world.account);
    assert!(world.key().await.is_ok());
}

#[tokio::test]
async fn a_did_that_cannot_be_looked_up_is_refused_without_a_request() {
    let world = World::new().await;
    for did in ["did:web:localhost", "did:key:z6Mk", "did:plc:x"] {
        let error = world.cache.key(&Did::parse(did).unwrap(), NETWORK).await;
        assert!(matches!(error, Err(ResolveError::Location(_))), "{did}");
    }
    assert_eq!(world.directory.requests(), 0);
}

#[tokio::test]
async fn a_wrong_signature_brings_the_new_key_once_and_then_rests() {
    let mut world = World::new().await;
    let old = world.key().await.unwrap();
    world.rotate();
    let other = world.cache.other_key(&world.did, &old, NETWORK).await;
    assert!(*other.unwrap().unwrap() == world.current());
    // The new key is remembered, also for those whose signature was by it.
    assert!(world.key().await.unwrap() == world.current());
    let again = world.cache.other_key(&world.did, &old, NETWORK).await;
    assert!(*again.unwrap().unwrap() == world.current());
    assert_eq!(world.requests(), 2);
    // Wrong under the new key too: too early to ask again.
    let current = world.current();
    let third = world.cache.other_key(&world.did, &current, NETWORK).await;
    assert!(third.unwrap().is_none());
    assert_eq!(world.requests(), 2);
}

#[tokio::test]
async fn a_wrong_signature_under_an_unchanged_key_changes_nothing() {
    let world = World::new().await;
    let key = world.key().await.unwrap();
    let other = world.cache.other_key(&world.did, &key, NETWORK).await;
    assert!(other.unwrap().is_none());
    assert_eq!(world.requests(), 2);
}

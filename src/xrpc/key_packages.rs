//! publishKeyPackage, publishKeyPackages, getKeyPackages, getKeyPackageStats,
//! syncKeyPackages.

use std::pin::pin;

use futures_util::stream::{Stream, StreamExt, iter};
use tokio::task::yield_now;

use super::context::Context;
use super::packages::{Accepted, Intake};
use crate::refusal::{Refusal, claimed_too_often, published};
use crate::store::{Claim, ClaimOutcome, SyncedKeyPackages};
use crate::types::{CipherSuite, CoarseTime};
use crate::wire::calls::{
    GetKeyPackageStats, GetKeyPackages, KeyPackageInput, KeyPackageRef, KeyPackageStatsView,
    KeyPackages, Nothing, PublishError, PublishKeyPackages, Published, SyncKeyPackages,
    SyncedKeyPackagesView,
};
use crate::wire::{Object, Sha256Hex, TextBytesOut, XrpcError, invalid};

pub(super) async fn publish_one(
    cx: &Context,
    input: KeyPackageInput,
) -> Result<Nothing, XrpcError> {
    let accepted = cx.intake(None, None).accept(&input)?;
    store(cx, vec![accepted]).await?;
    Ok(Nothing {})
}

/// Publishes all packages or, when one of them is bad, none: then the answer says
/// which and why.
pub(super) async fn publish_many(
    cx: &Context,
    input: PublishKeyPackages,
) -> Result<Published, XrpcError> {
    let intake = cx.intake(input.device_id.as_ref(), None);
    let (mut accepted, mut errors) = (Vec::new(), Vec::new());
    let mut judged = pin!(judged(&intake, input.key_packages.as_slice()).enumerate());
    while let Some((index, judged)) = judged.next().await {
        match judged {
            Ok(package) => accepted.push(package),
            Err(error) => errors.push(PublishError {
                index: index as u64,
                error: format!("{}: {}", error.name, error.message),
            }),
        }
    }
    if !errors.is_empty() {
        return Ok(Published {
            succeeded: 0,
            failed: errors.len() as u64,
            errors,
        });
    }
    let succeeded = accepted.len() as u64;
    store(cx, accepted).await?;
    Ok(Published {
        succeeded,
        failed: 0,
        errors,
    })
}

/// Accepts packages one after the other, or says why not. In between others have their turn: a
/// long list has hundreds of signatures to check.
pub(super) fn judged<'a>(
    intake: &'a Intake<'a>,
    packages: &'a [Object<KeyPackageInput>],
) -> impl Stream<Item = Result<Accepted, XrpcError>> + 'a {
    iter(packages).then(async |Object(package)| {
        yield_now().await;
        intake.accept(package)
    })
}

async fn store(cx: &Context, accepted: Vec<Accepted>) -> Result<(), XrpcError> {
    let device = accepted.first().and_then(|first| first.device.clone());
    if accepted.iter().any(|other| other.device != device) {
        let what = "must all be of one device; publish each device's by itself";
        return Err(invalid("keyPackages", what));
    }
    let packages: Vec<_> = accepted.into_iter().map(|a| a.package).collect();
    let (open_max, devices_max) = (cx.settings.key_packages_max, cx.settings.seats.devices_max);
    let outcome = cx
        .store
        .publish_key_packages(cx.did(), device.as_ref(), &packages, open_max, devices_max)
        .await?;
    published(outcome, devices_max, open_max)
}

/// Claims one key package per device of each account.
pub(super) async fn claim(cx: &Context, input: GetKeyPackages) -> Result<KeyPackages, XrpcError> {
    let asked = input.dids.into_vec();
    let mut dids = asked.clone();
    dids.sort_unstable();
    dids.dedup();
    let suite = input.cipher_suite.unwrap_or(SUITE_DEFAULT);
    let claim = Claim {
        keys: dids.iter().map(|did| cx.auth.pair(cx.did(), did)).collect(),
        users: dids.clone(),
        suite,
        claims_max: cx.settings.claims_per_target,
        window: cx.settings.claims_window,
        low: cx.settings.key_packages_low,
        devices_max: cx.settings.seats.devices_max,
        bytes_max: cx.settings.claim_bytes_max,
    };
    let claimed = match cx.store.claim_key_packages(&claim).await? {
        ClaimOutcome::Claimed(claimed) => claimed,
        ClaimOutcome::TooOften { user, retry_after } => {
            metrics::counter!("relay_calls_claims_refused_total").increment(1);
            let place = asked.iter().position(|did| *did == user);
            return Err(claimed_too_often(place.unwrap_or_default(), retry_after));
        }
    };
    dids.retain(|did| !claimed.iter().any(|package| package.user == *did));
    let key_packages = claimed.into_iter().map(|claimed| KeyPackageRef {
        did: claimed.user,
        device_id: claimed.device,
        key_package: TextBytesOut(claimed.bytes),
        cipher_suite: suite,
        key_package_hash: Sha256Hex(claimed.hash),
    });
    Ok(KeyPackages {
        key_packages: key_packages.collect(),
        missing: dids,
    })
}

/// How many packages the caller has left, on all devices or one.
pub(super) async fn stats(
    cx: &Context,
    input: GetKeyPackageStats,
) -> Result<KeyPackageStatsView, XrpcError> {
    if input.did.is_some_and(|did| did != *cx.did()) {
        return Err(Refusal::InvalidDid.into());
    }
    let device = input.device_id.as_ref();
    let mut stock = cx.store.key_package_stats(cx.did(), device).await?;
    if let Some(suite) = input.cipher_suite {
        stock.retain(|(stats, _)| stats.cipher_suite == suite);
    }
    let available = stock.iter().map(|(stats, _)| stats.available).sum();
    let threshold = u64::from(cx.settings.key_packages_low);
    let oldest = stock.iter().filter_map(|(_, oldest)| *oldest).min();
    let by_suite = stock.into_iter().map(|(stats, _)| stats).collect();
    Ok(KeyPackageStatsView {
        available,
        threshold,
        needs_replenish: available < threshold,
        oldest_expires_in: oldest.map(|at| in_words(at, cx.now_coarse())),
        by_cipher_suite: input.cipher_suite.is_none().then_some(by_suite),
    })
}

/// Drops the packages that a device, or an account without devices, has lost the keys of.
pub(super) async fn sync(
    cx: &Context,
    input: SyncKeyPackages,
) -> Result<SyncedKeyPackagesView, XrpcError> {
    let (device, hashes) = (input.device_id.as_ref(), input.local_hashes.as_slice());
    let synced = cx.store.sync_key_packages(cx.did(), device, hashes);
    let SyncedKeyPackages { dropped, kept } = synced.await?;
    Ok(SyncedKeyPackagesView {
        remaining_available: kept.len() as u64,
        server_hashes: kept,
        orphaned_count: dropped.len() as u64,
        deleted_count: dropped.len() as u64,
        orphaned_hashes: dropped,
        device_id: input.device_id,
    })
}

/// Pure. "23d 4h" until a time.
fn in_words(at: CoarseTime, now: CoarseTime) -> String {
    let hours = (at.unix_seconds() - now.unix_seconds()).max(0) / 3600;
    format!("{}d {}h", hours / 24, hours % 24)
}

/// Puts the place of an item in front of the field that its error names.
pub(super) fn at_index(index: usize, mut error: XrpcError) -> XrpcError {
    error.message = format!("keyPackages[{index}].{}", error.message).into();
    error
}

/// What clients that name no suite speak.
const SUITE_DEFAULT: CipherSuite = CipherSuite::X25519Aes128Ed25519;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::poll;

    use super::*;
    use crate::types::Did;
    use crate::wire::calls::KeyPackageBytes;

    #[test]
    fn the_time_left_is_told_in_days_and_hours() {
        let at = CoarseTime::from_unix_seconds;
        assert_eq!(in_words(at(100_000), at(0)), "1d 3h");
        assert_eq!(in_words(at(0), at(100)), "0d 0h");
    }

    #[tokio::test]
    async fn between_two_packages_others_have_their_turn() {
        let caller = Did::parse("did:plc:alice").unwrap();
        let intake = Intake {
            caller: &caller,
            device: None,
            signature_key: None,
            now_unix: 0,
            life_max: Duration::ZERO,
        };
        let package: KeyPackageBytes = serde_json::from_str("\"AAAA\"").unwrap();
        let package = Object(KeyPackageInput::bare(package, SUITE_DEFAULT));
        let packages = [package.clone(), package];
        let mut judged = pin!(judged(&intake, &packages));
        for _ in &packages {
            assert!(poll!(judged.next()).is_pending());
            assert!(judged.next().await.unwrap().is_err());
        }
        assert!(judged.next().await.is_none());
    }
}

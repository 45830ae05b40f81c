//! Large stocks of key packages: what is given, and what is published, costs what it is, and not what
//! there is.

use std::time::Duration;

use mls_relay::store::{Claim, ClaimOutcome, PublishOutcome};
use mls_relay::types::DeviceId;
use mls_relay::wire::Sha256Hex;

use crate::scale::{LOOKED_AT, costs, seeded};
use crate::store_values::{SUITE, did, key_package};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_looks_at_a_few_packages_of_each_device_however_many_it_has() {
    let database = seeded(STOCKS).await;
    costs(&database, LOOKED_AT, 700, async |store| {
        let claimed = store.claim_key_packages(&claim()).await.unwrap();
        assert!(matches!(claimed, ClaimOutcome::Claimed(given) if given.len() == 30));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_reads_what_its_own_device_has_published() {
    let database = seeded(STOCKS).await;
    let device = DeviceId::parse("00000007-5f0c-4a86-8d4e-0a1b2c3d4e5f").unwrap();
    costs(&database, LOOKED_AT, 3000, async |store| {
        // As often as it takes until Postgres keeps a plan, and more.
        for name in 0..10 {
            let published = store
                .publish_key_packages(
                    &did("alice"),
                    Some(&device),
                    &[key_package([name; 32])],
                    59,
                    32,
                )
                .await;
            let wanted = match name {
                9 => PublishOutcome::TooManyKeyPackages,
                _ => PublishOutcome::Done,
            };
            assert_eq!(published, Ok(wanted));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_what_it_has_makes_nobody_read_what_others_have() {
    let database = seeded(STOCKS).await;
    let device = DeviceId::parse("00000007-5f0c-4a86-8d4e-0a1b2c3d4e5f").unwrap();
    costs(&database, LOOKED_AT, 3000, async |store| {
        for _ in 0..10 {
            let synced = store
                .sync_key_packages(&did("alice"), Some(&device), &[Sha256Hex([7; 32])])
                .await
                .unwrap();
            assert_eq!((synced.dropped.len(), synced.kept.len()), (0, 50));
        }
    })
    .await;
}

/// Of what Alice has published.
fn claim() -> Claim {
    Claim {
        users: vec![did("alice")],
        suite: SUITE,
        keys: vec![[7; 32]],
        claims_max: 20,
        window: Duration::from_secs(3600),
        low: 5,
        devices_max: 32,
        bytes_max: 1 << 20,
    }
}

/// Thirty devices of Alice's with fifty packages each.
const STOCKS: &str = "
    INSERT INTO devices (user_did, device_id, name, signature_key)
        SELECT 'did:plc:alice', lpad(d || '', 8, '0') || '-5f0c-4a86-8d4e-0a1b2c3d4e5f', 'phone',
               convert_to(d || '', 'UTF8')
        FROM generate_series(1, 30) d;
    INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                              last_resort, expires_at)
        SELECT d.user_did, d.device_id, 1, 'x', decode(repeat('07', 32), 'hex'),
               sha256(convert_to(d.device_id || n, 'UTF8')), false, now() + '1 day'::interval
        FROM devices d, generate_series(1, 50) n";

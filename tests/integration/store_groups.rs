//! Who fits into a conversation, and what two who change things at once leave behind.

use std::time::{Duration, Instant};

use mls_relay::runtime::Shutdown;
use mls_relay::store::{
    ChangeOutcome, GroupChange, Joining, NewConversation, NewDevice, NewKeyPackage, PublishOutcome,
    RejoinOutcome, RejoinRequest, SeatBounds, Settings, Store,
};
use mls_relay::types::{CipherSuite, CoarseTime, ConvoId, DeviceId, Did, Epoch};

use crate::database::Database;

const SUITE: CipherSuite = CipherSuite::X25519Aes128Ed25519;

/// A store that lets so many devices into a conversation.
async fn open(database: &Database, members_max: u32) -> (Store, Shutdown) {
    let members = |settings: &mut Settings| settings.members_max = members_max;
    database.store_with(members).await
}

fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

fn convo() -> ConvoId {
    ConvoId::of_group(&[1; 16]).unwrap()
}

fn package(name: u8) -> NewKeyPackage {
    NewKeyPackage {
        cipher_suite: SUITE,
        bytes: vec![name; 100],
        hash: [name; 32],
        reference: vec![name; 32],
        last_resort: false,
        expires_at: CoarseTime::from_unix_seconds(4_000_000_000),
    }
}

fn joining(users: &[&Did], packages: &[u8]) -> Joining {
    Joining {
        users: users.iter().map(|did| (*did).clone()).collect(),
        references: packages.iter().map(|name| vec![*name; 32]).collect(),
        welcome: vec![9],
    }
}

async fn found(store: &Store, creator: &Did, joining: Joining) -> ChangeOutcome {
    let new = NewConversation {
        convo: convo(),
        creator: creator.clone(),
        device: None,
        cipher_suite: SUITE,
        epoch: Epoch::try_from(0).unwrap(),
        name: None,
        description: None,
        joining,
        group_info: None,
        bounds: SeatBounds::default(),
    };
    store.create_conversation(&new).await.unwrap()
}

fn adding(caller: &Did, joining: Joining) -> GroupChange {
    GroupChange {
        convo: convo(),
        caller: caller.clone(),
        commit: None,
        joining,
        leaving: None,
        rejoining: None,
        admin_only: false,
        group_info: None,
        bounds: SeatBounds::default(),
    }
}

fn is_done(outcome: &ChangeOutcome) -> bool {
    matches!(outcome, ChangeOutcome::Done { .. })
}

/// Waits until somebody waits for a lock.
async fn blocked(client: &tokio_postgres::Client) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    loop {
        let row = client.query_one(waiting, &[]).await.unwrap();
        if row.get::<_, i64>(0) > 0 {
            return;
        }
        assert!(Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_conversation_welcomes_its_own_devices_again_and_nobody_else() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 2).await;
    let (alice, bob, carol) = (did("alice"), did("bob"), did("carol"));
    for (owner, names) in [(&bob, [1, 2]), (&carol, [3, 4])] {
        let packages = names.map(package);
        let outcome = store
            .publish_key_packages(owner, None, &packages, 10, 32)
            .await;
        assert_eq!(outcome.unwrap(), PublishOutcome::Done);
    }
    // The founder counts as well.
    let too_many = found(&store, &alice, joining(&[&bob, &carol], &[1, 3])).await;
    assert_eq!(too_many, ChangeOutcome::TooManyMembers);
    assert!(is_done(
        &found(&store, &alice, joining(&[&bob], &[1])).await
    ));

    let request = RejoinRequest {
        convo: convo(),
        user: bob.clone(),
        device: None,
        package: package(2),
        open_max: 10,
        devices_max: 32,
        quiet: Duration::from_secs(60),
    };
    let asked = store.request_rejoin(&request).await.unwrap();
    assert_eq!(asked, RejoinOutcome::Done);
    let added = adding(&alice, joining(&[&carol], &[3]));
    let outcome = store.change_group(&added).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::TooManyMembers);
    let anew = adding(&alice, joining(&[&bob], &[2]));
    assert!(is_done(&store.change_group(&anew).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_that_goes_while_a_welcome_is_judged_lets_nobody_in() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 10).await;
    let (alice, bob) = (did("alice"), did("bob"));
    assert!(is_done(&found(&store, &alice, Joining::default()).await));
    let (other, watcher) = (database.client().await, database.client().await);
    for (name, what) in [
        (1, "UPDATE key_packages SET consumed_at = now()"),
        (2, "DELETE FROM key_packages"),
    ] {
        let packages = [package(name)];
        let published = store
            .publish_key_packages(&bob, None, &packages, 10, 32)
            .await;
        assert_eq!(published.unwrap(), PublishOutcome::Done);
        other
            .batch_execute(&format!("BEGIN; {what}"))
            .await
            .unwrap();
        let (store, change) = (store.clone(), adding(&alice, joining(&[&bob], &[name])));
        let change = tokio::spawn(async move { store.change_group(&change).await });
        blocked(&watcher).await;
        other.batch_execute("COMMIT").await.unwrap();
        let outcome = change.await.unwrap().unwrap();
        let whom = vec![bob.clone()];
        let not_found = ChangeOutcome::KeyPackageNotFound { whom };
        assert_eq!(outcome, not_found, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_registers_anew_waits_for_nobody_who_waits_for_it() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 10).await;
    let new = |name| NewDevice {
        user: did("bob"),
        device: DeviceId::parse("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f").unwrap(),
        name: "phone".to_owned(),
        signature_key: vec![7; 32],
        packages: vec![package(name)],
    };
    let first = store.register_device(&new(1), 10, 10, 10).await;
    assert_eq!(first.unwrap(), PublishOutcome::Done);

    // As syncKeyPackages does: first the lock of those who publish, then the rows.
    let (other, watcher) = (database.client().await, database.client().await);
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), \
                                                    hashtext('did:plc:bob'))";
    other.batch_execute(lock).await.unwrap();
    let again = new(2);
    let registering = tokio::spawn(async move { store.register_device(&again, 10, 10, 10).await });
    blocked(&watcher).await;
    let rows = "DELETE FROM key_packages; COMMIT";
    other.batch_execute(rows).await.unwrap();
    let registered = registering.await.unwrap();
    assert_eq!(registered.unwrap(), PublishOutcome::Done);
}

//! Calls about the same devices and their packages wait for locks in one order, so that no two wait
//! for each other.

use std::time::Duration;

use mls_relay::runtime::Shutdown;
use mls_relay::store::{
    ChangeOutcome, Claim, Joining, PublishOutcome, RejoinRequest, Store, StoreError,
};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::owners::{
    Owner, add, found, joining, numbered, owner, package, publish, reference, register, said,
};
use crate::store_values::SUITE;

/// What takes packages away from their device.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Account,
    Anew,
    Device,
    Rejoin,
    Sync,
}

impl Ending {
    const ALL: [Self; 5] = [
        Self::Account,
        Self::Anew,
        Self::Device,
        Self::Rejoin,
        Self::Sync,
    ];

    /// Ends the owner's packages; `number` is that of a new one, and `convo` that of a
    /// conversation of its own.
    async fn end(
        self,
        store: &Store,
        owner: &Owner,
        number: u32,
        convo: u32,
    ) -> Result<(), StoreError> {
        let (user, device) = (&owner.user, &owner.device);
        let now = chrono::Utc::now();
        match self {
            Self::Account => store.delete_account(user, now).await.map(drop),
            Self::Anew => register(store, owner, &[number]).await.map(drop),
            Self::Device => store.delete_device(user, device, now).await.map(drop),
            Self::Rejoin => {
                let request = RejoinRequest {
                    convo: numbered(convo),
                    user: user.clone(),
                    device: Some(device.clone()),
                    package: package(number),
                    open_max: 100,
                    devices_max: 32,
                    quiet: Duration::from_secs(60),
                };
                store.request_rejoin(&request).await.map(drop)
            }
            Self::Sync => {
                let synced = store.sync_key_packages(user, Some(device), &[]).await;
                synced.map(drop)
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_packages_away_and_who_adds_two_of_them_do_not_wait_for_each_other() {
    let (database, store, _shutdown) = Database::with_store().await;
    let alice = owner("alice", 1);
    for (round, ending) in (1..).zip(Ending::ALL) {
        let bob = owner(&format!("{round}bob"), 1);
        register(&store, &bob, &[]).await.unwrap();
        let convo = round * 10;
        found(&store, &bob, false, convo, Joining::default())
            .await
            .unwrap();
        // They were published in another order than that of their references.
        let mut numbers: Vec<u32> = (round * 100..).take(2).collect();
        numbers.sort_by_key(|number| std::cmp::Reverse(reference(*number)));
        for number in &numbers {
            publish(&store, &bob, *number).await.unwrap();
        }
        let founding = found(&store, &alice, false, convo + 1, joining(&[&bob], &numbers));
        let ending = async {
            let ended = ending.end(&store, &bob, round * 100 + 50, convo).await;
            assert_eq!(ended, Ok(()), "{ending:?}");
        };
        let first = "key_packages WHERE reference = (
            SELECT reference FROM key_packages WHERE user_did = $1 ORDER BY reference LIMIT 1)";
        let founding = async { assert!(founding.await.is_ok(), "{round}") };
        database
            .meeting(first, bob.user.expose(), founding, ending)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_registers_anew_and_founds_at_once_does_not_wait_for_itself() {
    let (database, store, _shutdown) = Database::with_store().await;
    let alice = owner("alice", 1);
    register(&store, &alice, &[1]).await.unwrap();
    let registering = async {
        let registered = register(&store, &alice, &[2]).await;
        assert_eq!(registered, Ok(PublishOutcome::Done));
    };
    let founding = async {
        let founded = found(&store, &alice, true, 1, joining(&[&alice], &[1])).await;
        let whom = Vec::new();
        assert_eq!(founded, Ok(ChangeOutcome::KeyPackageNotFound { whom }));
    };
    let packages = "key_packages WHERE user_did = $1";
    database
        .meeting(packages, alice.user.expose(), registering, founding)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_accounts_that_register_one_signature_key_at_once_one_is_told_so() {
    let (database, store, _shutdown) = Database::with_store().await;
    let mut client = database.client().await;
    let held = client.transaction().await.unwrap();
    let other = "INSERT INTO devices (user_did, device_id, name, signature_key)
        VALUES ('did:plc:mallory', 'm', 'phone', $1)";
    let alice = owner("alice", 1);
    held.execute(other, &[&vec![alice.key; 32]]).await.unwrap();
    let registering = register(&store, &alice, &[1]);
    let committing = async {
        database.waiting(1).await;
        held.commit().await.unwrap();
    };
    let (registered, ()) = tokio::join!(registering, committing);
    assert_eq!(registered, Ok(PublishOutcome::DuplicateKey));
}

/// One account blocks the other, or no longer, in a conversation where it is made an admin.
async fn quarrel(
    store: &Store,
    (one, other): &(Owner, Owner),
    convo: u32,
    exists: bool,
) -> Result<(), StoreError> {
    let convo = numbered(convo);
    let both = [said(one, other, exists), said(other, one, !exists)];
    store.record_blocks(&both).await?;
    store.change_block(&one.user, &other.user, exists).await?;
    let role = store.set_admin(&convo, &one.user, &other.user, exists);
    role.await.map(drop)
}

/// One account claims of the other, and looks for what it is itself welcomed with.
async fn meet(store: &Store, (one, other): &(Owner, Owner), convo: u32) -> Result<(), StoreError> {
    let convo = numbered(convo);
    let claim = Claim {
        users: vec![one.user.clone(), other.user.clone()],
        suite: SUITE,
        keys: vec![[other.key; 32], [one.key; 32]],
        claims_max: u32::MAX,
        window: Duration::from_secs(60),
        low: 5,
        devices_max: 32,
        bytes_max: 1 << 20,
    };
    store.claim_key_packages(&claim).await?;
    let device = Some(&one.device);
    store.welcome(&convo, &one.user, device).await?;
    store.confirm_welcome(&convo, &one.user, device).await
}

/// Everything that is done with the devices of two accounts, at once, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn calls_about_the_same_devices_at_once_never_wait_for_each_other() {
    let database = Database::with_settings(&["deadlock_timeout=50ms"]).await;
    let (store, _shutdown): (Store, Shutdown) = database.store().await;
    let owners = [
        owner("alice", 1),
        owner("alice", 2),
        owner("bob", 1),
        owner("bob", 2),
    ];
    let mut faults = Vec::new();
    for round in 1..=ROUNDS {
        let first = u32::try_from(round).unwrap() * 100;
        let own = |nth: usize| first + u32::try_from(nth % 4).unwrap() * 5;
        for (nth, owner) in owners.iter().enumerate() {
            let numbers: Vec<u32> = (own(nth)..).take(3).collect();
            register(&store, owner, &numbers).await.unwrap();
        }
        found(&store, &owners[0], true, first, Joining::default())
            .await
            .unwrap();
        let mut calls = JoinSet::new();
        for (nth, owner) in owners.iter().enumerate() {
            let theirs = &owners[(nth + 2) % 4];
            let (own, other) = (own(nth), own(nth + 2));
            let packages = [own, other, own + 1, other + 1];
            let of_both = joining(&[owner, theirs], &packages);
            let of_other = joining(&[theirs], &[other, other + 2]);
            let ending = Ending::ALL[(round + nth) % 5];
            let (call, on) = (store.clone(), owner.clone());
            calls.spawn(async move { found(&call, &on, true, own + 1, of_both).await.map(drop) });
            let (call, on) = (store.clone(), owner.clone());
            calls.spawn(async move { add(&call, &on, first, of_other).await.map(drop) });
            let (call, on) = (store.clone(), owner.clone());
            calls.spawn(async move { ending.end(&call, &on, own + 50, first).await });
            let (call, on) = (store.clone(), owner.clone());
            calls.spawn(async move { publish(&call, &on, own + 3).await.map(drop) });
            let (call, pair) = (store.clone(), (owner.clone(), theirs.clone()));
            calls.spawn(async move { quarrel(&call, &pair, first, (round + nth) % 2 == 0).await });
            let (call, pair) = (store.clone(), (owner.clone(), theirs.clone()));
            calls.spawn(async move { meet(&call, &pair, first).await });
        }
        while let Some(call) = calls.join_next().await {
            faults.extend(call.unwrap().err());
        }
    }
    assert!(faults.is_empty(), "{faults:?}");
}

const ROUNDS: usize = 60;

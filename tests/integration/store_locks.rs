//! Whoever waits for a lock waits in one order, so that no two calls wait for each other.

use std::time::Duration;

use mls_relay::runtime::Shutdown;
use mls_relay::store::{
    ChangeOutcome, Claim, GroupChange, Joining, NewConversation, NewDevice, NewKeyPackage,
    PublishOutcome, RejoinRequest, Said, Store, StoreError,
};
use mls_relay::types::{ConvoId, DeviceId, Did};
use tokio::task::JoinSet;

use crate::calls_at_once::meeting;
use crate::database::Database;
use crate::store_values::{SUITE, change, conversation, did, key_package};

/// A device, of the first or second of its account.
#[derive(Clone)]
struct Owner {
    user: Did,
    device: DeviceId,
    /// What it signs with.
    key: u8,
}

fn owner(name: &str, nth: u8) -> Owner {
    Owner {
        user: did(name),
        device: DeviceId::parse(&format!("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e0{nth}")).unwrap(),
        key: name.as_bytes()[0].wrapping_mul(4) + nth,
    }
}

fn numbered(convo: u32) -> ConvoId {
    ConvoId::of_group(&convo.to_be_bytes()).unwrap()
}

/// The reference of the package of this number: in no order.
fn reference(number: u32) -> Vec<u8> {
    let scattered = number.wrapping_mul(0x9E37_79B9).to_be_bytes();
    scattered.repeat(8)
}

fn package(number: u32) -> NewKeyPackage {
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    NewKeyPackage {
        reference: reference(number),
        ..key_package(hash)
    }
}

fn joining(users: &[&Owner], packages: &[u32]) -> Joining {
    Joining {
        users: users.iter().map(|owner| owner.user.clone()).collect(),
        references: packages.iter().map(|number| reference(*number)).collect(),
        welcome: vec![9],
    }
}

async fn register(
    store: &Store,
    owner: &Owner,
    packages: &[u32],
) -> Result<PublishOutcome, StoreError> {
    let new = NewDevice {
        user: owner.user.clone(),
        device: owner.device.clone(),
        name: "phone".to_owned(),
        signature_key: vec![owner.key; 32],
        packages: packages.iter().map(|number| package(*number)).collect(),
    };
    store.register_device(&new, 10, 100, 10).await
}

async fn publish(store: &Store, owner: &Owner, number: u32) -> Result<PublishOutcome, StoreError> {
    let device = Some(&owner.device);
    let packages = [package(number)];
    let user = &owner.user;
    store
        .publish_key_packages(user, device, &packages, 100, 32)
        .await
}

/// Founds the conversation of this number on the owner's device, or on one that is not told.
async fn found(
    store: &Store,
    owner: &Owner,
    is_named: bool,
    convo: u32,
    joining: Joining,
) -> Result<ChangeOutcome, StoreError> {
    let new = NewConversation {
        device: is_named.then(|| owner.device.clone()),
        joining,
        ..conversation(&numbered(convo), &owner.user)
    };
    store.create_conversation(&new).await
}

async fn add(
    store: &Store,
    owner: &Owner,
    convo: u32,
    joining: Joining,
) -> Result<ChangeOutcome, StoreError> {
    let change = GroupChange {
        joining,
        ..change(&numbered(convo), &owner.user)
    };
    store.change_group(&change).await
}

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
        meeting(&database, first, bob.user.expose(), founding, ending).await;
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
    meeting(
        &database,
        packages,
        alice.user.expose(),
        registering,
        founding,
    )
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_in_bites_waits_for_nobody() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (alice, bob) = (owner("alice", 1), owner("bob", 1));
    publish(&store, &bob, 1).await.unwrap();
    publish(&store, &bob, 2).await.unwrap();
    let founded = found(&store, &alice, false, 1, joining(&[&bob], &[1])).await;
    assert!(matches!(founded, Ok(ChangeOutcome::Done { .. })));
    let mut client = database.client().await;
    let old = "UPDATE welcomes SET created_at = '2020-01-01', epoch = -1;
        UPDATE key_packages SET expires_at = '2020-01-01';
        INSERT INTO key_package_claims VALUES ('\\x01', 1, '2020-01-01');
        INSERT INTO used_jti VALUES ('\\x01', '2020-01-01');
        INSERT INTO idempotency_keys (key, request_hash, expires_at)
            VALUES (sha256('a'), sha256('b'), '2020-01-01');
        INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category,
                             encrypted_content, message_ids, resolved_at)
            SELECT 'r', c.convo_id, 'did:plc:a', 'did:plc:b', 'spam', 'x', '{}', '2020-01-01'
            FROM conversations c";
    client.batch_execute(old).await.unwrap();
    let forgetting = database.client().await;
    let session = "SET lock_timeout = '5s'";
    forgetting.batch_execute(session).await.unwrap();
    for (table, forget) in [
        ("key_package_claims", "forget_claims(10)"),
        ("used_jti", "forget_jtis(10)"),
        ("idempotency_keys", "forget_idempotency_keys(10)"),
        ("key_packages", "forget_key_packages('1 hour', 10)"),
        ("welcomes", "forget_unconfirmed_welcomes('1 hour', 10)"),
        ("welcomes", "forget_old_welcomes('1 hour', 10)"),
        ("reports", "forget_reports('1 hour', 10)"),
    ] {
        let forget = format!("SELECT {forget}");
        let held = client.transaction().await.unwrap();
        let hold = format!("SELECT FROM {table} FOR UPDATE");
        assert!(held.execute(&hold, &[]).await.unwrap() > 0, "{table}");
        let gone = forgetting.query_one(&forget, &[]).await;
        assert_eq!(gone.unwrap().get::<_, i64>(0), 0, "{forget}");
        held.rollback().await.unwrap();
        let check = forgetting.batch_execute("BEGIN").await;
        check.unwrap();
        let gone = forgetting.query_one(&forget, &[]).await.unwrap();
        assert!(gone.get::<_, i64>(0) > 0, "{forget}");
        forgetting.batch_execute("ROLLBACK").await.unwrap();
    }
}

fn said(blocker: &Owner, blocked: &Owner, exists: bool) -> Said {
    Said {
        blocker: blocker.user.clone(),
        blocked: blocked.user.clone(),
        uri: None,
        exists,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_blocks_and_who_forgets_an_accounts_do_not_wait_for_each_other() {
    let (database, store, _shutdown) = Database::with_store().await;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| owner(name, 1));
    // They were learned of in another order than that of their accounts.
    for blocker in [&carol, &bob, &alice] {
        let learned = store.record_blocks(&[said(blocker, &bob, true)]).await;
        assert_eq!(learned, Ok(()));
    }
    let (there, gone) = (said(&alice, &bob, true), said(&carol, &bob, true));
    let [lifted, also] = [&alice, &carol].map(|blocker| said(blocker, &bob, false));
    let keeping = async { assert_eq!(store.record_blocks(&[there, gone]).await, Ok(())) };
    let lifting = async { assert_eq!(store.record_blocks(&[also, lifted]).await, Ok(())) };
    let first = "blocks WHERE blocker_did = 'did:plc:alice' AND blocked_did = $1";
    meeting(&database, first, bob.user.expose(), keeping, lifting).await;

    for blocker in [&carol, &bob, &alice] {
        let learned = store.record_blocks(&[said(blocker, &bob, true)]).await;
        assert_eq!(learned, Ok(()));
    }
    let all = [&alice, &carol].map(|blocker| said(blocker, &bob, true));
    let keeping = async { assert_eq!(store.record_blocks(&all).await, Ok(())) };
    let ending = async {
        let ended = store.delete_account(&bob.user, chrono::Utc::now()).await;
        assert!(ended.is_ok(), "{ended:?}");
    };
    meeting(&database, first, bob.user.expose(), keeping, ending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_a_block_and_who_forgets_it_do_not_wait_for_each_other() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (alice, bob) = (owner("alice", 1), owner("bob", 1));
    let conflicts = "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT 'ab0' || n, 'did:plc:alice', 1, 0 FROM generate_series(1, 2) n;
         INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
             SELECT c.convo_id, who, 0, 0
             FROM conversations c, unnest(ARRAY['did:plc:alice', 'did:plc:bob']) AS who;
         INSERT INTO block_conflicts (convo_id, blocker_did, blocked_did)
             VALUES ('ab02', 'did:plc:alice', 'did:plc:bob'),
                    ('ab01', 'did:plc:alice', 'did:plc:bob')";
    database.run(conflicts).await;
    let change = async |exists: bool| {
        let told = store.change_block(&alice.user, &bob.user, exists).await;
        assert_eq!(told.map(|convos| convos.len()), Ok(2));
    };
    let first = "block_conflicts WHERE convo_id = 'ab01' AND blocked_did = $1";
    let (made, lifted) = (change(true), change(false));
    meeting(&database, first, bob.user.expose(), made, lifted).await;

    let ending = async {
        let ended = store.delete_account(&bob.user, chrono::Utc::now()).await;
        assert!(ended.is_ok(), "{ended:?}");
    };
    let made = change(true);
    meeting(&database, first, bob.user.expose(), made, ending).await;
    let left = "SELECT count(*) FROM block_conflicts";
    assert_eq!(database.count(left).await, 0);
}

//! Who fits into a conversation, and what those who change things at once leave behind.

use std::time::Duration;

use mls_relay::runtime::Shutdown;
use mls_relay::store::{
    ChangeOutcome, Claim, ClaimOutcome, GroupChange, Joining, Leaving, NewConversation, NewDevice,
    NewKeyPackage, NewMessage, PublishOutcome, RejoinOutcome, RejoinRequest, Rejoining, Settings,
    Store,
};
use mls_relay::types::{ConvoId, DeviceId, Did, Epoch};

use crate::database::Database;
use crate::store_values::{SUITE, change, commit, conversation, did, key_package, message};

/// A store that lets so many devices into a conversation.
async fn open(database: &Database, members_max: u32) -> (Store, Shutdown) {
    let members = |settings: &mut Settings| settings.members_max = members_max;
    database.store_with(members).await
}

fn convo() -> ConvoId {
    ConvoId::of_group(&[1; 16]).unwrap()
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
        joining,
        ..conversation(&convo(), creator)
    };
    store.create_conversation(&new).await.unwrap()
}

fn adding(caller: &Did, joining: Joining) -> GroupChange {
    GroupChange {
        joining,
        ..change(&convo(), caller)
    }
}

fn is_done(outcome: &ChangeOutcome) -> bool {
    matches!(outcome, ChangeOutcome::Done { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_conversation_welcomes_its_own_devices_again_and_nobody_else() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 2).await;
    let (alice, bob, carol) = (did("alice"), did("bob"), did("carol"));
    for (owner, names) in [(&bob, [1, 2]), (&carol, [3, 4])] {
        let packages = names.map(|name| key_package([name; 32]));
        let outcome = store
            .publish_key_packages(owner, None, &packages, 10, 32)
            .await;
        assert_eq!(outcome.unwrap(), PublishOutcome::Done);
    }
    // The founder counts as well.
    let too_many = found(&store, &alice, joining(&[&bob, &carol], &[1, 3])).await;
    assert_eq!(too_many, ChangeOutcome::TooManyMembers { most: 2 });
    assert!(is_done(
        &found(&store, &alice, joining(&[&bob], &[1])).await
    ));

    let asked = store.request_rejoin(&asking(&bob, None, 2)).await;
    assert_eq!(asked, Ok(RejoinOutcome::Done));
    let added = adding(&alice, joining(&[&carol], &[3]));
    let outcome = store.change_group(&added).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::TooManyMembers { most: 2 });
    let anew = adding(&alice, joining(&[&bob], &[2]));
    assert!(is_done(&store.change_group(&anew).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_package_that_goes_while_a_welcome_is_judged_lets_nobody_in() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 10).await;
    let (alice, bob) = (did("alice"), did("bob"));
    assert!(is_done(&found(&store, &alice, Joining::default()).await));
    let other = database.client().await;
    for (name, what) in [
        (1, "UPDATE key_packages SET consumed_at = now()"),
        (2, "DELETE FROM key_packages"),
    ] {
        let packages = [key_package([name; 32])];
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
        database.waiting(1).await;
        other.batch_execute("COMMIT").await.unwrap();
        let outcome = change.await.unwrap().unwrap();
        let whom = vec![bob.clone()];
        let not_found = ChangeOutcome::KeyPackageNotFound { whom };
        assert_eq!(outcome, not_found, "{what}");
    }
}

/// Whoever looks up where a stay begins may read only when it is over, and another has begun.
#[tokio::test(flavor = "multi_thread")]
async fn who_came_back_a_moment_ago_reads_nothing_of_the_time_in_between() {
    let database = Database::start().await;
    let (store, _shutdown) = open(&database, 10).await;
    let (alice, bob) = (did("alice"), did("bob"));
    let packages = [1, 2].map(|name| key_package([name; 32]));
    let published = store.publish_key_packages(&bob, None, &packages, 10, 32);
    assert_eq!(published.await.unwrap(), PublishOutcome::Done);
    assert!(is_done(
        &found(&store, &alice, joining(&[&bob], &[1])).await
    ));
    store.append(message(&convo(), &alice)).await.unwrap();
    let leaving = Leaving {
        user: bob.clone(),
        device: None,
        removed: true,
    };
    let removal = GroupChange {
        leaving: Some(leaving),
        ..commit(&convo(), &alice, Epoch::default(), vec![1])
    };
    assert!(is_done(&store.change_group(&removal).await.unwrap()));
    let back = adding(&alice, joining(&[&bob], &[2]));
    assert!(is_done(&store.change_group(&back).await.unwrap()));
    let later = NewMessage {
        epoch: Epoch::default().next(),
        ..message(&convo(), &alice)
    };
    store.append(later).await.unwrap();

    let read = store.messages(&convo(), &bob, 0, 10).await.unwrap();
    let read: Vec<_> = read.iter().map(|message| message.seq).collect();
    assert_eq!(read, [3]);
    let commits = async |reader: &Did| {
        let (first, last) = (Epoch::default(), Epoch::default().next());
        let page = store.commits(&convo(), reader, first, last, 10).await;
        page.unwrap().0.len()
    };
    assert_eq!((commits(&alice).await, commits(&bob).await), (1, 0));
}

/// Founds a conversation of Alice's on a phone that is a registered device, which nobody told the
/// relay; welcomes her there on that phone anew, which still does not say what it is; and makes
/// Bob an admin.
async fn welcomed_without_a_name(store: &Store, alice: &Did, bob: &Did, phone: &DeviceId) {
    let new = NewDevice {
        user: alice.clone(),
        device: phone.clone(),
        name: "phone".to_owned(),
        signature_key: vec![7; 32],
        packages: vec![key_package([1; 32])],
    };
    let registered = store.register_device(&new, 10, 10, 10).await;
    assert_eq!(registered.unwrap(), PublishOutcome::Done);
    let bobs = store
        .publish_key_packages(bob, None, &[key_package([2; 32])], 10, 32)
        .await;
    assert_eq!(bobs.unwrap(), PublishOutcome::Done);
    assert!(is_done(&found(store, alice, joining(&[bob], &[2])).await));
    let asked = store.request_rejoin(&asking(alice, None, 3)).await;
    assert_eq!(asked, Ok(RejoinOutcome::Done));
    let anew = adding(bob, joining(&[alice], &[3]));
    assert!(is_done(&store.change_group(&anew).await.unwrap()));
    let role = store.set_admin(&convo(), alice, bob, true).await;
    assert!(role.is_ok());
}

fn asking(user: &Did, device: Option<&DeviceId>, name: u8) -> RejoinRequest {
    RejoinRequest {
        convo: convo(),
        user: user.clone(),
        device: device.cloned(),
        package: key_package([name; 32]),
        open_max: 10,
        devices_max: 32,
        quiet: Duration::from_secs(60),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_goes_with_the_seat_that_it_was_for_also_when_neither_had_a_name() {
    let (alice, bob) = (did("alice"), did("bob"));
    let phone = DeviceId::parse("9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e5f").unwrap();
    for way in ["added", "comes back", "deleted", "removed"] {
        let database = Database::start().await;
        let (store, _shutdown) = open(&database, 10).await;
        welcomed_without_a_name(&store, &alice, &bob, &phone).await;
        let waiting = "SELECT count(*) FROM welcomes WHERE user_did = 'did:plc:alice'";
        assert_eq!(database.count(waiting).await, 1);
        let left = match way {
            "added" => {
                let asked = store.request_rejoin(&asking(&alice, Some(&phone), 4)).await;
                assert_eq!(asked, Ok(RejoinOutcome::Done));
                let anew = adding(&bob, joining(&[&alice], &[4]));
                assert!(is_done(&store.change_group(&anew).await.unwrap()));
                1
            }
            "comes back" => {
                let back = GroupChange {
                    rejoining: Some(Rejoining {
                        device: Some(phone.clone()),
                        resync: true,
                    }),
                    ..adding(&alice, Joining::default())
                };
                assert!(is_done(&store.change_group(&back).await.unwrap()));
                0
            }
            "deleted" => {
                let gone = store
                    .delete_device(&alice, &phone, chrono::Utc::now())
                    .await;
                assert!(matches!(gone, Ok(Some(_))), "{gone:?}");
                0
            }
            _ => {
                let removal = GroupChange {
                    leaving: Some(Leaving {
                        user: alice.clone(),
                        device: Some(phone.clone()),
                        removed: true,
                    }),
                    ..adding(&bob, Joining::default())
                };
                assert!(is_done(&store.change_group(&removal).await.unwrap()));
                0
            }
        };
        assert_eq!(database.count(waiting).await, left, "{way}");
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
        packages: vec![key_package([name; 32])],
    };
    let first = store.register_device(&new(1), 10, 10, 10).await;
    assert_eq!(first.unwrap(), PublishOutcome::Done);

    // As syncKeyPackages does: first the lock of those who publish, then the rows.
    let other = database.client().await;
    let lock = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), \
                                                    hashtext('did:plc:bob'))";
    other.batch_execute(lock).await.unwrap();
    let again = new(2);
    let registering = tokio::spawn(async move { store.register_device(&again, 10, 10, 10).await });
    database.waiting(1).await;
    let rows = "DELETE FROM key_packages; COMMIT";
    other.batch_execute(rows).await.unwrap();
    let registered = registering.await.unwrap();
    assert_eq!(registered.unwrap(), PublishOutcome::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_claim_at_once_one_gets_a_package_and_all_may_get_the_last_resort() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let bob = did("bob");
    let packages = [1, 2, 3].map(|name| NewKeyPackage {
        last_resort: name == 3,
        ..key_package([name; 32])
    });
    let published = store
        .publish_key_packages(&bob, None, &packages, 10, 32)
        .await;
    assert_eq!(published.unwrap(), PublishOutcome::Done);
    let claims = (0..6).map(|_| {
        let store = store.clone();
        let claim = Claim {
            users: vec![bob.clone()],
            suite: SUITE,
            keys: vec![[7; 32]],
            claims_max: 100,
            window: Duration::from_secs(60),
            low: 0,
            devices_max: 32,
            bytes_max: 1 << 20,
        };
        tokio::spawn(async move { store.claim_key_packages(&claim).await.unwrap() })
    });
    let mut names = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        let ClaimOutcome::Claimed(claimed) = claim.await.unwrap() else {
            panic!("nobody claims too often");
        };
        names.extend(claimed.into_iter().map(|claimed| claimed.hash[0]));
    }
    names.sort_unstable();
    assert_eq!(names, [1, 2, 3, 3, 3, 3]);
}

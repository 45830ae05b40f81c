//! What one account can make others read, keep or fail at is bounded.

use mls_relay::store::ChangeOutcome;
use mls_relay::types::{ConvoId, Epoch};
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::json;

use crate::database::Database;
use crate::phone::{Phone, people, phones};
use crate::store_values::{commit, conversation, did};
use crate::world::{World, text, unhex, with};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_commit_a_conversation_out_of_the_epochs_that_can_be_read() {
    let (_world, [mallory, bob, carol]) = people().await;
    let (group, founding) = mallory.founding(&[bob.did(), carol.did()]).await;
    let founding = with(&founding, json!({"currentEpoch": Epoch::MAX}));
    mallory.post("createConvo", &founding).await;

    let id = unhex(&group.id());
    // A PrivateMessage (RFC 9420 section 6.3) whose content is a commit, and empty.
    let mut commit = vec![0, 1, 0, 2, u8::try_from(id.len()).unwrap()];
    commit.extend(id);
    commit.extend(Epoch::MAX.to_be_bytes());
    commit.extend([3, 0, 0, 0]);
    let removal = json!({
        "convoId": group.id(),
        "targetDid": carol.did(),
        "commit": text(&commit),
    });
    let refused = mallory.post_refused("removeMember", &removal).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(refused.message.starts_with("commit"), "{}", refused.message);
    let listed = bob.get("getConvos", &[]).await;
    assert_eq!(listed["conversations"][0]["epoch"], Epoch::MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_nobody_registered_count_among_those_that_publish() {
    let world = World::with(|settings| settings.xrpc.seats.devices_max = 2).await;
    let phone = Phone::new(&world).await;
    let tablet = Phone::unregistered(&phone);
    let client = &phone;
    for _ in 0..2 {
        client
            .post("publishKeyPackage", &tablet.key_package())
            .await;
    }
    let third = Phone::unregistered(client);
    let package = third.key_package();
    let refused = client.post_refused("publishKeyPackage", &package).await;
    assert_eq!(refused.name, "TooManyDevices");
    // Registered ones are in any case among them.
    client.post("publishKeyPackage", &phone.key_package()).await;
    let other = Phone::new(&world).await;
    assert_eq!(other.claim(&[phone.did()]).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_takes_no_more_packages_than_its_answer_holds() {
    let world = World::with(|settings| settings.xrpc.claim_bytes_max = 1).await;
    let [bob, carol] = phones(&world).await;
    let mut dids = [bob.did(), carol.did()];
    dids.sort_unstable();
    let alice = Phone::new(&world).await;
    let parameters = [
        ("cipherSuite", CIPHER_SUITE_NAME),
        ("dids", dids[0]),
        ("dids", dids[1]),
    ];
    let answer = alice.get("getKeyPackages", &parameters).await;
    assert_eq!(answer["keyPackages"].as_array().unwrap().len(), 1);
    assert_eq!(answer["keyPackages"][0]["did"], dids[0]);
    assert_eq!(answer["missing"], json!([dids[1]]));
    // The other one's is still there, for who asks for it alone.
    assert_eq!(alice.claim(&[dids[1]]).await.len(), 1);
    assert_eq!(alice.claim(&[dids[1]]).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_not_kept_for_more_devices_than_its_size_allows() {
    let world = World::with(|settings| settings.xrpc.welcome_copies_bytes_max = 3000).await;
    let alice = Phone::new(&world).await;
    let others: [_; 4] = phones(&world).await;
    let dids = others.each_ref().map(|phone| phone.did());
    let (_, founding) = alice.founding(&dids).await;
    let refused = alice.post_refused("createConvo", &founding).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(
        refused.message.starts_with("welcomeMessage") && refused.message.contains("3000"),
        "{}",
        refused.message
    );
}

/// Each may be of a megabyte, and a node answers many at once.
#[tokio::test(flavor = "multi_thread")]
async fn commits_come_in_pages_of_bounded_bytes() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    let epoch = |value: u64| Epoch::try_from(value).unwrap();
    let founding = conversation(&convo, &alice);
    store.create_conversation(&founding).await.unwrap();
    for made_in in 0..12 {
        let bytes = vec![u8::try_from(made_in).unwrap(); 1 << 18];
        let change = commit(&convo, &alice, epoch(made_in), bytes);
        let outcome = store.change_group(&change).await.unwrap();
        assert!(matches!(outcome, ChangeOutcome::Done { .. }), "{outcome:?}");
    }
    let page = async |from, limit| {
        let (page, next) = store
            .commits(&convo, &alice, epoch(from), epoch(99), limit)
            .await
            .unwrap();
        let epochs: Vec<_> = page.iter().map(|commit| commit.epoch.get()).collect();
        (epochs, next.map(Epoch::get))
    };
    assert_eq!(page(0, 100).await, ((1..=8).collect(), Some(9)));
    assert_eq!(page(9, 100).await, ((9..=12).collect(), None));
    assert_eq!(page(0, 3).await, ((1..=3).collect(), Some(4)));
    assert_eq!(page(10, 3).await, ((10..=12).collect(), None));
    assert_eq!(page(13, 100).await, (vec![], None));
}

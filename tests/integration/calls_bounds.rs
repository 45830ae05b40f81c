//! What one account can make others read, keep or fail at is bounded.

use mls_relay::types::Epoch;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::json;

use crate::phone::Phone;
use crate::world::{World, text, unhex};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_can_commit_a_conversation_out_of_the_epochs_that_can_be_read() {
    let world = World::start().await;
    let (mallory, bob) = (Phone::new(&world).await, Phone::new(&world).await);
    let carol = Phone::new(&world).await;
    let mut group = mallory.device.create_group().unwrap();
    let members = [bob.did(), carol.did()];
    let welcome = group.add(&mallory.claim(&members).await).unwrap().welcome;
    let founding = json!({
        "groupId": group.id(),
        "cipherSuite": CIPHER_SUITE_NAME,
        "currentEpoch": Epoch::MAX,
        "initialMembers": members,
        "welcomeMessage": text(&welcome.unwrap()),
    });
    mallory.client.post("createConvo", &founding).await;

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
    let refused = mallory.client.post_refused("removeMember", &removal).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(refused.message.starts_with("commit"), "{}", refused.message);
    let listed = bob.client.get("getConvos", &[]).await;
    assert_eq!(listed["conversations"][0]["epoch"], Epoch::MAX);
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_that_nobody_registered_count_among_those_that_publish() {
    let settings = mls_relay::xrpc::Settings {
        devices_max: 2,
        ..mls_relay::xrpc::Settings::default()
    };
    let world = World::with(settings).await;
    let phone = Phone::new(&world).await;
    let tablet = Phone::unregistered(&phone.client);
    let client = &phone.client;
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
    let settings = mls_relay::xrpc::Settings {
        claim_bytes_max: 1,
        ..mls_relay::xrpc::Settings::default()
    };
    let world = World::with(settings).await;
    let phones = [Phone::new(&world).await, Phone::new(&world).await];
    let mut dids = phones.each_ref().map(Phone::did);
    dids.sort_unstable();
    let alice = Phone::new(&world).await;
    let parameters = [
        ("cipherSuite", CIPHER_SUITE_NAME),
        ("dids", dids[0]),
        ("dids", dids[1]),
    ];
    let answer = alice.client.get("getKeyPackages", &parameters).await;
    assert_eq!(answer["keyPackages"].as_array().unwrap().len(), 1);
    assert_eq!(answer["keyPackages"][0]["did"], dids[0]);
    assert_eq!(answer["missing"], json!([dids[1]]));
    // The other one's is still there, for who asks for it alone.
    assert_eq!(alice.claim(&[dids[1]]).await.len(), 1);
    assert_eq!(alice.claim(&[dids[1]]).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_not_kept_for_more_devices_than_its_size_allows() {
    let settings = mls_relay::xrpc::Settings {
        welcome_copies_bytes_max: 3000,
        ..mls_relay::xrpc::Settings::default()
    };
    let world = World::with(settings).await;
    let alice = Phone::new(&world).await;
    let mut dids = Vec::new();
    for _ in 0..4 {
        dids.push(Phone::new(&world).await.did().to_owned());
    }
    let dids: Vec<&str> = dids.iter().map(String::as_str).collect();
    let mut group = alice.device.create_group().unwrap();
    let commit = group.add(&alice.claim(&dids).await).unwrap();
    let founding = json!({
        "groupId": group.id(),
        "cipherSuite": CIPHER_SUITE_NAME,
        "currentEpoch": 1,
        "initialMembers": dids,
        "welcomeMessage": text(&commit.welcome.unwrap()),
    });
    let refused = alice.client.post_refused("createConvo", &founding).await;
    assert_eq!(refused.name, "InvalidRequest");
    assert!(
        refused.message.starts_with("welcomeMessage") && refused.message.contains("3000"),
        "{}",
        refused.message
    );
}

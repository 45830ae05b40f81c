//! What somebody who is inside can do to the others: an admin that is reported, a Welcome to somewhere else.

use std::sync::Arc;

use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use mls_relay_loadtest::phone::{self, PhoneError};
use mls_relay_loadtest::xrpc_client::{HttpVersion, XrpcClient};
use serde_json::json;

use crate::phone::{Phone, people};
use crate::world::{assert_says, bytes, text, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_report_about_an_admin_is_for_the_other_admins() {
    let (_world, [alice, bob, carol]) = people().await;
    let group = alice.found(&[bob.did(), carol.did()]).await;
    let id = group.id();
    let role = json!({"convoId": id, "targetDid": bob.did()});
    alice.post("promoteAdmin", &role).await;
    let report = json!({
        "convoId": id,
        "reportedDid": bob.did(),
        "category": "harassment",
        "encryptedContent": bytes(b"only for admins"),
    });
    let sent = carol.post("reportMember", &report).await;

    // Bob hears neither of it nor from whom it is, and cannot end it.
    let ask = [("convoId", id.as_str())];
    let reports = async |reader: &Phone| reader.get("getReports", &ask).await["reports"].clone();
    assert_eq!(reports(&bob).await, json!([]));
    let end = json!({"reportId": sent["reportId"], "action": "dismissed"});
    let refused = bob.post_refused("resolveReport", &end).await;
    assert_eq!(refused.name, "ReportNotFound");
    let counted = async |reader: &Phone| {
        let stats = reader.get("getAdminStats", &ask).await["stats"].clone();
        (
            stats["totalReports"].clone(),
            stats["reportsByCategory"]["harassment"].clone(),
        )
    };
    assert_eq!(counted(&bob).await, (json!(0), json!(0)));
    assert_eq!(counted(&alice).await, (json!(1), json!(1)));
    let seen = reports(&alice).await;
    assert_says(
        &seen[0],
        json!({"id": sent["reportId"], "status": "pending"}),
    );

    // Of an only admin nobody else could see to it.
    alice
        .post(
            "demoteAdmin",
            &with(&role, json!({"targetDid": alice.did()})),
        )
        .await;
    assert_eq!(reports(&bob).await, seen);
    assert_eq!(counted(&bob).await, (json!(1), json!(1)));
    bob.post("resolveReport", &end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_to_another_group_than_the_conversations_is_not_confirmed() {
    let (world, [mallory]) = people().await;
    let account = world.account().account;
    let client = XrpcClient::new(Arc::clone(&world.relay), account, HttpVersion::One);
    let mut victim = phone::Phone::new("victim", client).unwrap();
    victim.register().await.unwrap();
    // It is for the victim's package, so that the relay takes it.
    let shown = mallory.device.create_group().unwrap();
    let mut other = mallory.device.create_group().unwrap();
    let packages = mallory.claim(&[victim.did()]).await;
    let commit = other.add(&packages).unwrap();
    let input = json!({
        "groupId": shown.id(),
        "cipherSuite": CIPHER_SUITE_NAME,
        "initialMembers": [victim.did()],
        "welcomeMessage": text(&commit.welcome.unwrap()),
        "currentEpoch": 1,
    });
    mallory.post("createConvo", &input).await;
    let joined = victim.join(&shown.id()).await;
    assert!(matches!(joined, Err(PhoneError::OtherGroup)), "{joined:?}");
    assert!(victim.group().is_none());
    let waiting = "SELECT state FROM welcomes";
    assert_eq!(
        world.database.all::<String>(waiting, &[]).await,
        ["fetched"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_told_the_key_that_a_device_has_proved() {
    let (_world, [alice, bob]) = people().await;
    alice.found(&[bob.did()]).await;
    let seats = alice.seats().await;
    let bobs = seats.iter().find(|seat| seat["userDid"] == bob.did());
    let key = &bobs.unwrap()["signaturePublicKey"];
    assert_eq!(*key, bytes(bob.device.signature_key()));
}

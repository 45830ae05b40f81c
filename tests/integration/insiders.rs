//! What somebody who is inside can do to the others: an admin that is reported.

use serde_json::json;

use crate::phone::{Phone, people};
use crate::world::{World, assert_says, bytes, text, with};

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
    bob.post("resolveReport", &end).await;
}

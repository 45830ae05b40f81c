//! Admins, reports, consent, the end of a device.

use chrono::Utc;
use http::StatusCode;
use mls_relay::types::Did;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::{Value, json};

use crate::phone::{Phone, people, phones};
use crate::world::{World, assert_says, bytes, text, unhex, with};

#[tokio::test(flavor = "multi_thread")]
async fn admins_make_and_unmake_admins_and_one_always_stays() {
    let (world, [alice, bob]) = people().await;
    let stranger = world.account();
    let group = alice.found(&[bob.did()]).await;
    let role = |did: &str| json!({"convoId": group.id(), "targetDid": did});
    let refused = bob.post_refused("promoteAdmin", &role(bob.did())).await;
    assert_eq!(refused.told(), (403, "NotAdmin"));
    let refused = stranger
        .post_refused("promoteAdmin", &role(bob.did()))
        .await;
    assert_eq!(refused.name, "ConvoNotFound");
    let refused = alice
        .post_refused("promoteAdmin", &role(stranger.did()))
        .await;
    assert_eq!(refused.name, "NotMember");
    let refused = alice.post_refused("demoteAdmin", &role(alice.did())).await;
    assert_eq!(refused.name, "LastAdmin");
    let refused = alice.post_refused("demoteAdmin", &role(bob.did())).await;
    assert_eq!(refused.name, "NotAdminTarget");

    alice.post("promoteAdmin", &role(bob.did())).await;
    let refused = alice.post_refused("promoteAdmin", &role(bob.did())).await;
    assert_eq!(refused.name, "AlreadyAdmin");
    let seats = bob.seats().await;
    let seat = seats
        .iter()
        .find(|seat| seat["userDid"] == bob.did())
        .unwrap();
    assert_says(seat, json!({"isAdmin": true, "promotedBy": alice.did()}));

    // The role may be given up, and then the founder may go.
    alice.post("demoteAdmin", &role(alice.did())).await;
    alice.leave(&group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_only_admins_account_ends_whoever_was_in_longest_is_admin() {
    let (world, [alice, bob, carol]) = people().await;
    let mut group = alice.found(&[carol.did()]).await;
    alice.add(&mut group, &bob).await;
    alice.found(&[]).await;
    // Carol was one before, by Alice's word.
    for call in ["promoteAdmin", "demoteAdmin"] {
        let role = json!({"convoId": group.id(), "targetDid": carol.did()});
        alice.post(call, &role).await;
    }
    let mut heard = world.live(&bob).await;
    let gone = Did::parse(alice.did()).unwrap();
    world.store.delete_account(&gone, Utc::now()).await.unwrap();

    let told = heard.next_named("#membershipChangeEvent").await;
    assert_eq!(told.body()["action"], "left");
    heard.next_named("#conversationUpdated").await;
    let members = bob.seats().await;
    let admins: Vec<_> = members.iter().filter(|m| m["isAdmin"] == true).collect();
    assert_eq!((members.len(), admins.len()), (2, 1));
    assert_eq!(admins[0]["userDid"], carol.did());
    assert_eq!(admins[0]["promotedBy"], json!(null));
    let promoting = json!({"convoId": group.id(), "targetDid": bob.did()});
    carol.post("promoteAdmin", &promoting).await;
    // There is another: nobody is made one.
    let gone = Did::parse(carol.did()).unwrap();
    world.store.delete_account(&gone, Utc::now()).await.unwrap();
    let told = heard.next_named("#membershipChangeEvent").await;
    assert_eq!(told.body()["did"], carol.did());
    let members = bob.seats().await;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["promotedBy"], carol.did());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_for_the_admins_of_its_conversation_and_ends_once() {
    let (world, [alice, bob]) = people().await;
    let stranger = world.account();
    let group = alice.found(&[bob.did()]).await;
    let id = group.id();
    let report = json!({
        "convoId": id,
        "reportedDid": alice.did(),
        "category": "hate_speech",
        "encryptedContent": bytes(b"only for admins"),
        "messageIds": ["01ARZ3NDEKTSV4RRFFQ69G5FAV"],
    });
    let oneself = with(&report, json!({"reportedDid": bob.did()}));
    let refused = bob.post_refused("reportMember", &oneself).await;
    assert_eq!(refused.name, "CannotReportSelf");
    let absent = with(&report, json!({"reportedDid": stranger.did()}));
    let refused = bob.post_refused("reportMember", &absent).await;
    assert_eq!(refused.name, "NotMember");
    let refused = stranger.post_refused("reportMember", &report).await;
    assert_eq!(refused.name, "ConvoNotFound");
    let sent = bob.post("reportMember", &report).await;
    // A retry that did not hear the answer hears it now, and the admins see one report.
    assert_eq!(bob.post("reportMember", &report).await, sent);

    let ask = [("convoId", id.as_str()), ("status", "pending")];
    let refused = bob.get_refused("getReports", &ask).await;
    assert_eq!(refused.name, "NotAdmin");
    let seen = alice.get("getReports", &ask).await;
    assert_eq!(seen["reports"].as_array().unwrap().len(), 1);
    assert_eq!(seen["reports"][0]["id"], sent["reportId"]);
    assert_eq!(
        seen["reports"][0]["encryptedContent"],
        report["encryptedContent"]
    );

    let end = json!({"reportId": sent["reportId"], "action": "dismissed", "notes": "no"});
    let refused = bob.post_refused("resolveReport", &end).await;
    assert_eq!(refused.name, "NotAdmin");
    let refused = stranger.post_refused("resolveReport", &end).await;
    assert_eq!(refused.name, "ReportNotFound");
    alice.post("resolveReport", &end).await;
    let refused = alice.post_refused("resolveReport", &end).await;
    assert_eq!(refused.name, "AlreadyResolved");
    assert_eq!(alice.get("getReports", &ask).await["reports"], json!([]));

    let stats = alice.get("getAdminStats", &[("convoId", &id)]).await;
    assert_eq!(stats["stats"]["totalReports"], 1);
    assert_eq!(stats["stats"]["reportsByCategory"]["hateSpeech"], 1);
    let refused = bob.get_refused("getAdminStats", &[("convoId", &id)]).await;
    assert_eq!(refused.name, "NotAdmin");
    let refused = alice.get_refused("getAdminStats", &[]).await;
    assert_eq!(refused.name, "NotAuthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_reports_of_one_member_wait_for_the_admins_of_one_conversation() {
    let world = World::with(|settings| settings.xrpc.open_reports_max = 2).await;
    let [alice, bob, carol] = phones(&world).await;
    let id = alice.found(&[bob.did(), carol.did()]).await.id();
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let other = alice.found(&[bob.did()]).await.id();
    let report = |convo: &str, what: &str| {
        json!({
            "convoId": convo,
            "reportedDid": alice.did(),
            "category": "spam",
            "encryptedContent": bytes(what.as_bytes()),
        })
    };
    // However many come at once.
    let sent = ["first", "second", "third"].map(|what| report(&id, what));
    let calls = sent.iter().map(async |report| {
        let request = bob.post_request("reportMember", report);
        (report, bob.exchange(request).await)
    });
    let answers = futures_util::future::join_all(calls).await;
    let (kept, refused): (Vec<_>, Vec<_>) = answers
        .into_iter()
        .partition(|(_, (status, ..))| *status == StatusCode::OK);
    assert_eq!((kept.len(), refused.len()), (2, 1));
    let refused = bob.refusal("reportMember", refused.into_iter().next().unwrap().1);
    assert_eq!(refused.told(), (400, "TooManyReports"));
    // What is there is there, and nobody else is kept out, or the same one elsewhere.
    let (sent, (_, _, answer)) = &kept[0];
    assert_eq!(bob.post("reportMember", sent).await, *answer);
    carol.post("reportMember", &report(&id, "Carol's")).await;
    bob.post("reportMember", &report(&other, "elsewhere")).await;

    let end = json!({"reportId": answer["reportId"], "action": "no_action"});
    alice.post("resolveReport", &end).await;
    bob.post("reportMember", &report(&id, "fourth")).await;
    let refused = bob
        .post_refused("reportMember", &report(&id, "fifth"))
        .await;
    assert_eq!(refused.name, "TooManyReports");
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_paged_without_loss_or_repetition() {
    let (_world, [alice, bob]) = people().await;
    let id = alice.found(&[bob.did()]).await.id();
    let report = async || {
        let report = json!({
            "convoId": id,
            "reportedDid": alice.did(),
            "category": "spam",
            "encryptedContent": bytes(uuid::Uuid::new_v4().as_bytes()),
        });
        bob.post("reportMember", &report).await["reportId"].clone()
    };
    let (mut sent, mut late) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        sent.push(report().await);
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut ask = vec![("convoId", id.as_str()), ("limit", "2")];
        ask.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = alice.get("getReports", &ask).await;
        let ids = page["reports"].as_array().unwrap().iter();
        seen.extend(ids.map(|report| report["id"].clone()));
        // What comes in meanwhile moves nobody off a page.
        late.push(report().await);
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let sorted = |mut ids: Vec<Value>| {
        ids.sort_by_key(Value::to_string);
        ids
    };
    seen.retain(|id| !late.contains(id));
    assert_eq!(sorted(seen), sorted(sent));

    // A report of another conversation, or none, is no place in this one's.
    let other = alice.found(&[]).await.id();
    for (convo, cursor) in [(&other, late[0].as_str().unwrap()), (&id, "x")] {
        let ask = [("convoId", convo.as_str()), ("cursor", cursor)];
        let refused = alice.get_refused("getReports", &ask).await;
        assert_eq!(refused.name, "InvalidCursor", "{cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_demoted_while_it_reads_is_told_no_reports() {
    let (world, [alice, bob]) = people().await;
    let id = alice.found(&[bob.did()]).await.id();
    let report = json!({
        "convoId": id,
        "reportedDid": alice.did(),
        "category": "spam",
        "encryptedContent": bytes(b"only for admins"),
    });
    bob.post("reportMember", &report).await;
    let holder = world.database.client().await;
    let hold = "BEGIN; LOCK TABLE reports";
    holder.batch_execute(hold).await.unwrap();
    let ask = [("convoId", id.as_str())];
    let then = async {
        world.database.waiting(2).await;
        let demoted = "UPDATE members SET is_admin = false; COMMIT";
        holder.batch_execute(demoted).await.unwrap();
    };
    let (reports, stats, ()) = tokio::join!(
        alice.get_refused("getReports", &ask),
        alice.get_refused("getAdminStats", &ask),
        then
    );
    assert_eq!(reports.told(), (403, "NotAdmin"));
    assert_eq!(stats.told(), (403, "NotAdmin"));
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_is_given_taken_back_and_told() {
    let world = World::start().await;
    let (alice, bob) = (world.account(), world.account());
    let first = alice.post("optIn", &json!({})).await;
    assert_eq!(alice.post("optIn", &json!({})).await, first);
    let ask = [("dids", bob.did()), ("dids", alice.did())];
    let told = bob.get("getOptInStatus", &ask).await;
    assert_eq!(
        told["statuses"][0],
        json!({"did": bob.did(), "optedIn": false})
    );
    assert_eq!(told["statuses"][1]["optedInAt"], first["optedInAt"]);
    for success in [true, false] {
        let answer = alice.post("optOut", &json!({})).await;
        assert_eq!(answer, json!({ "success": success }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_is_out_of_everything_and_its_sibling_stays() {
    let (_world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    let delete = |phone: &Phone| json!({"deviceId": phone.device.device_id()});
    let refused = alice.post("deleteDevice", &delete(&tablet)).await;
    assert_eq!(refused["deleted"], false, "it is not Alice's");
    let gone = bob.post("deleteDevice", &delete(&tablet)).await;
    assert_says(&gone, json!({"deleted": true, "conversationsLeft": 1}));
    bob.get("getEpoch", &[("convoId", &group.id())]).await;
    bob.post("deleteDevice", &delete(&bob)).await;
    let refused = bob
        .get_refused("getEpoch", &[("convoId", &group.id())])
        .await;
    assert_eq!(refused.name, "ConvoNotFound");
    assert_eq!(bob.get("listDevices", &[]).await["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_whose_keys_are_lost_are_dropped() {
    let (_world, [bob]) = people().await;
    let kept = bob.device.key_package().unwrap();
    let package = json!({"keyPackage": text(&kept), "cipherSuite": CIPHER_SUITE_NAME});
    bob.post("publishKeyPackage", &package).await;
    let hash = mls_relay_loadtest::mls::key_package_hash(&kept);
    let input = json!({"deviceId": bob.device.device_id(), "localHashes": [hash]});
    let synced = bob.post("syncKeyPackages", &input).await;
    assert_eq!(synced["serverHashes"], json!([hash]));
    assert_says(&synced, json!({"deletedCount": 1, "remainingAvailable": 1}));
    let again = bob.post("syncKeyPackages", &input).await;
    assert_eq!(again["deletedCount"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_devices_withdraws_its_packages() {
    let world = World::start().await;
    let (alice, bob) = (Phone::new(&world).await, world.account());
    let tablet = Phone::of(&bob).await;
    let bob = Phone::of_account(&bob);
    bob.post("publishKeyPackage", &bob.key_package()).await;
    let input = json!({"localHashes": []});
    let synced = bob.post("syncKeyPackages", &input).await;
    assert_says(&synced, json!({"deletedCount": 1, "serverHashes": []}));
    assert_eq!(synced.get("deviceId"), None);
    // What a device has published is that device's to withdraw.
    let claimed = alice.claim(&[bob.did()]).await;
    assert!(claimed.len() == 1 && tablet.made(&claimed[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_info_is_kept_for_members_and_only_of_this_group() {
    let world = World::start().await;
    let (alice, stranger) = (Phone::new(&world).await, world.account());
    let group = alice.found(&[]).await;
    let id = group.id();
    let refused = alice.get_refused("getGroupInfo", &[("convoId", &id)]).await;
    assert_eq!(refused.name, "GroupInfoUnavailable");
    let refused = stranger
        .get_refused("getGroupInfo", &[("convoId", &id)])
        .await;
    assert_eq!(refused.name, "ConvoNotFound");

    let info = group.group_info().unwrap();
    let input = json!({"convoId": id, "groupInfo": text(&info), "epoch": 0});
    assert_eq!(
        alice.post("updateGroupInfo", &input).await,
        json!({"updated": true})
    );
    let kept = alice.get("getGroupInfo", &[("convoId", &id)]).await;
    assert_eq!(kept, json!({"groupInfo": text(&info), "epoch": 0}));

    let foreign = text(&alice.found(&[]).await.group_info().unwrap());
    let shut = text(&without_external_pub(&id));
    for (what, change) in [
        ("another group's", json!({"groupInfo": foreign})),
        (
            "one by which nobody can come in",
            json!({"groupInfo": shut}),
        ),
        ("noise", json!({"groupInfo": "AAAA"})),
        ("another epoch", json!({"epoch": 3})),
    ] {
        let refused = alice
            .post_refused("updateGroupInfo", &with(&input, change))
            .await;
        assert_eq!(refused.name, "InvalidGroupInfo", "{what}");
    }
    let still = alice.get("getGroupInfo", &[("convoId", &id)]).await;
    assert_eq!(still, kept);
}

/// A GroupInfo of this group at epoch 0 that has no extensions, and is otherwise empty.
fn without_external_pub(convo: &str) -> Vec<u8> {
    let id = unhex(convo);
    let mut info = vec![0, 1, 0, 1, u8::try_from(id.len()).unwrap()];
    info.extend(id);
    info.extend([0; 8]); // the epoch
    info.extend([0; 5]); // tree, transcript, extensions of the group and its own, tag
    info.extend([0; 5]); // signer, signature
    info
}

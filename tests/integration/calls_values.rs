//! What answers say in their less common fields, and what travels together with a change.

use mls_relay_loadtest::mls::Group;
use serde_json::{Value, json};

use crate::phone::{Phone, adding, people, together};
use crate::world::{World, assert_says, bytes, decoded, text, with};

/// One more device of an account that is in this group, with its seat.
async fn seated(phone: &Phone, by: &Phone, group: &mut Group) -> Phone {
    let device = Phone::of(phone).await;
    let published = device.key_package();
    device.post("publishKeyPackage", &published).await;
    let commit = group.add(&[decoded(&published["keyPackage"])]).unwrap();
    group.merge_commit().unwrap();
    let input = adding(group, &[phone.did()], &commit);
    by.post("addMembers", &input).await;
    device
}

/// The devices of an account that have a seat in its one conversation, and whether each is
/// an admin's.
async fn seats(phone: &Phone) -> Vec<Value> {
    let members = phone.seats().await;
    let own = members.iter().filter(|seat| seat["userDid"] == phone.did());
    own.map(|seat| seat["isAdmin"].clone()).collect()
}

/// The GroupInfo that the relay keeps, with its epoch.
async fn kept(phone: &Phone, group: &Group) -> Value {
    let id = group.id();
    phone.get("getGroupInfo", &[("convoId", &id)]).await
}

fn info(group: &Group) -> Value {
    json!({"groupInfo": text(&group.group_info().unwrap()), "epoch": group.epoch()})
}

#[tokio::test(flavor = "multi_thread")]
async fn one_device_is_removed_and_its_account_stays_until_the_last() {
    let (world, [alice, bob], mut group) = together().await;
    let bobs = seated(&bob, &alice, &mut group).await;
    let alices = seated(&alice, &alice, &mut group).await;
    let mut heard = world.live(&bob).await;
    let id = group.id();
    let remove = async |owner: &Phone, device: &Phone| {
        let device = device.device.device_id();
        let input = json!({"convoId": id, "targetDid": owner.did(), "deviceId": device});
        let answer = alice.post("removeMember", &input).await;
        assert_eq!(answer["ok"], true);
    };

    // Another's, and one's own: nobody has gone.
    for (owner, device) in [(&bob, &bobs), (&alice, &alices)] {
        assert_eq!(seats(owner).await.len(), 2);
        remove(owner, device).await;
        assert_eq!(heard.next().await.unwrap().name(), "#conversationUpdated");
        assert_eq!(seats(owner).await.len(), 1);
    }
    assert_eq!(seats(&alice).await, [true], "the founder's own seat");
    // Who has no other goes with it.
    remove(&bob, &bob).await;
    let told = heard.next().await.unwrap();
    assert_eq!(
        (told.name(), &told.body()["action"]),
        ("#membershipChangeEvent", &json!("removed"))
    );
    let asked = [("convoId", id.as_str())];
    let refused = bob.get_refused("getEpoch", &asked).await;
    assert_eq!(refused.name, "ConvoNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_info_travels_with_the_change_that_it_is_of() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.device.create_group().unwrap();
    let founding = json!({
        "groupId": group.id(),
        "cipherSuite": mls_relay_loadtest::mls::CIPHER_SUITE_NAME,
        "currentEpoch": 0,
        "groupInfo": info(&group)["groupInfo"],
    });
    alice.post("createConvo", &founding).await;
    assert_eq!(kept(&alice, &group).await, info_of(&founding, 0));

    let commit = group.add(&alice.claim(&[bob.did()]).await).unwrap();
    group.merge_commit().unwrap();
    let adding = json!({
        "convoId": group.id(),
        "didList": [bob.did()],
        "commit": text(&commit.commit),
        "welcomeMessage": text(&commit.welcome.unwrap()),
        "groupInfo": info(&group)["groupInfo"],
    });
    // Of another epoch it is refused, and the change with it.
    let past = with(&adding, json!({"groupInfo": founding["groupInfo"]}));
    let refused = alice.post_refused("addMembers", &past).await;
    assert_eq!(refused.name, "InvalidGroupInfo");
    alice.post("addMembers", &adding).await;
    assert_eq!(kept(&alice, &group).await, info_of(&adding, 1));

    let commit = group.remove(bob.did()).unwrap();
    group.merge_commit().unwrap();
    let removing = json!({
        "convoId": group.id(),
        "targetDid": bob.did(),
        "commit": text(&commit.commit),
        "groupInfo": info(&group)["groupInfo"],
    });
    alice.post("removeMember", &removing).await;
    assert_eq!(kept(&alice, &group).await, info_of(&removing, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_may_leave_a_group_info_of_the_epoch_it_leaves() {
    let (_world, [alice, bob], group) = together().await;
    let bobs = bob.join(&group).await;
    let leaving = json!({"convoId": group.id(), "groupInfo": info(&bobs)["groupInfo"]});
    bob.post("leaveConvo", &leaving).await;
    assert_eq!(kept(&alice, &group).await, info_of(&leaving, 1));
}

fn info_of(input: &Value, epoch: u64) -> Value {
    json!({"groupInfo": input["groupInfo"], "epoch": epoch})
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_paged_and_nothing_is_shown_of_before_a_stay() {
    let (_world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let id = group.id();
    for _ in 0..101 {
        let update = group.update().unwrap();
        let input = json!({
            "convoId": id,
            "commit": text(&update.commit),
            "groupInfo": text(update.group_info.as_ref().unwrap()),
            "epoch": group.epoch() + 1,
        });
        alice.post("updateGroupInfo", &input).await;
        group.merge_commit().unwrap();
    }
    let ask = async |phone: &Phone, from: &str, to: &str| {
        let asked = [
            ("convoId", id.as_str()),
            ("fromEpoch", from),
            ("toEpoch", to),
        ];
        let page = phone.get("getCommits", &asked).await;
        let commits = page["commits"].as_array().unwrap().iter();
        let epochs: Vec<_> = commits.map(|one| one["epoch"].as_u64().unwrap()).collect();
        (epochs, page["nextEpoch"].as_u64())
    };
    assert_eq!(
        ask(&alice, "1", "101").await,
        ((1..=100).collect(), Some(101))
    );
    assert_eq!(ask(&alice, "101", "101").await, (vec![101], None));

    alice.add(&mut group, &bob).await;
    // Page by page as for all others, with nothing in them.
    assert_eq!(ask(&bob, "1", "101").await, (vec![], Some(101)));
    assert_eq!(ask(&bob, "101", "101").await, (vec![], None));
    assert_eq!(ask(&bob, "101", "102").await, (vec![], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_end_in_several_ways_and_are_counted_since_a_time() {
    let (world, [alice, bob]) = people().await;
    let id = alice.found(&[bob.did()]).await.id();
    let report = async |category: &str| {
        let report = json!({
            "convoId": id,
            "reportedDid": alice.did(),
            "category": category,
            "encryptedContent": bytes(uuid::Uuid::new_v4().as_bytes()),
        });
        bob.post("reportMember", &report).await["reportId"].clone()
    };
    let (removed, none) = (report("spam").await, report("violence").await);
    let (dismissed, open) = (report("spam").await, report("harassment").await);
    // The first ones are of long ago, and before the last one ended a clock was set back.
    let aged = "UPDATE reports SET created_at = created_at - make_interval(hours => $2) \
                WHERE report_id = $1";
    for (report, hours) in [(&removed, 9), (&none, 3), (&dismissed, -1)] {
        let report = report.as_str().unwrap();
        world.database.change(aged, &[&report, &hours]).await;
    }
    for (report, action) in [
        (&removed, "removed_member"),
        (&none, "no_action"),
        (&dismissed, "dismissed"),
    ] {
        let end = json!({"reportId": report, "action": action});
        alice.post("resolveReport", &end).await;
    }
    for (status, wanted) in [
        ("pending", vec![&open]),
        ("resolved", vec![&none, &removed]),
        ("dismissed", vec![&dismissed]),
    ] {
        let ask = [("convoId", id.as_str()), ("status", status)];
        let page = alice.get("getReports", &ask).await;
        let reports = page["reports"].as_array().unwrap();
        let ids: Vec<_> = reports.iter().map(|report| &report["id"]).collect();
        assert_eq!(ids, wanted, "{status}");
        for report in reports {
            assert_eq!(report["status"], status);
            let is_over = status != "pending";
            assert_eq!(report["resolvedBy"] == alice.did(), is_over);
            assert_eq!(report["resolvedAt"].is_string(), is_over);
        }
    }

    let count = async |since: Option<&str>| {
        let mut ask = vec![("convoId", id.as_str())];
        ask.extend(since.map(|since| ("since", since)));
        alice.get("getAdminStats", &ask).await["stats"].clone()
    };
    let all = count(None).await;
    let told = |name: &str| all[name].as_u64();
    assert_eq!(told("totalReports"), Some(4));
    assert_eq!(told("pendingReports"), Some(1));
    assert_eq!(told("resolvedReports"), Some(3));
    assert_eq!(told("totalRemovals"), Some(1));
    // Nine hours, three and none.
    assert_eq!(told("averageResolutionTimeHours"), Some(4));
    assert_eq!(all["reportsByCategory"]["spam"], 2);
    let since = chrono::Utc::now() - chrono::TimeDelta::hours(1);
    let lately = count(Some(
        &since.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    ))
    .await;
    assert_says(&lately, json!({"totalReports": 2, "totalRemovals": 0}));
    assert_eq!(lately["averageResolutionTimeHours"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_with_all_the_devices_that_it_may_have_takes_no_more() {
    let (world, [alice, bob]) = people().await;
    let mut group = alice.found(&[]).await;
    let full = "INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq) \
                SELECT $1, 'did:plc:member' || n, 1, 0 FROM generate_series(1, $2 - 1) n";
    let id = group.id();
    let most = i32::try_from(world.store.settings().members_max).unwrap();
    world.database.change(full, &[&id, &most]).await;
    let input = alice.adding(&mut group, &bob).await;
    let refused = alice.post_refused("addMembers", &input).await;
    assert_eq!(refused.name, "TooManyMembers");
    let bound = format!("over {most} devices");
    assert!(refused.message.contains(&bound), "{}", refused.message);
    let gone = "DELETE FROM members WHERE user_did = 'did:plc:member1'";
    world.database.run(gone).await;
    alice.post("addMembers", &input).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_places_are_told_as_they_are() {
    let world = World::with(|settings| {
        settings.xrpc.stream_endpoint = Some("wss://events.relay.test".to_owned());
    })
    .await;
    let alice = Phone::new(&world).await;
    let mut group = alice.found(&[]).await;
    let listed = alice.get("getConvos", &[]).await;
    assert_eq!(listed["conversations"][0].get("lastMessageAt"), None);
    let message = alice.message(&mut group, b"hello");
    let sent = alice.post("sendMessage", &message).await;
    let listed = alice.get("getConvos", &[]).await;
    let last = &listed["conversations"][0]["lastMessageAt"];
    assert_eq!(last, &sent["receivedAt"]);

    let ticket = alice.post("getSubscriptionTicket", &json!({})).await;
    assert_eq!(ticket["endpoint"], "wss://events.relay.test");

    // The one package that is left is of the registration.
    let stock = alice.get("getKeyPackageStats", &[]).await;
    assert_eq!(stock["available"], 1);
    let ends = "UPDATE key_packages SET expires_at = coarse_now() + interval '49 h 30 min'";
    world.database.run(ends).await;
    let stock = alice.get("getKeyPackageStats", &[]).await;
    assert_eq!(stock["oldestExpiresIn"], "2d 1h");
}

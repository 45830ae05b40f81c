//! Blocks: known to the AppView, asked for before people are put together, and told to
//! admins when they come later.

use std::time::Duration;

use mls_relay::blocks;
use serde_json::{Value, json};

use crate::appview::AppView;
use crate::phone::{Phone, phones, together};
use crate::relay::eventually;
use crate::world::{Client, World, assert_says, text, with};

/// A world whose relay asks an AppView.
async fn asking(appview: &AppView, change: impl FnOnce(&mut blocks::Settings)) -> World {
    World::with(|settings| {
        settings.blocks.url = Some(appview.url());
        change(&mut settings.blocks);
    })
    .await
}

/// What handleBlockChange takes.
fn change(blocker: &Client, blocked: &Client, action: &str) -> Value {
    json!({"blockerDid": blocker.did(), "blockedDid": blocked.did(), "action": action})
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_put_together_with_somebody_who_blocks_them() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let [alice, bob, carol, dave] = phones(&world).await;
    appview.block(bob.did(), alice.did());
    appview.block(carol.did(), dave.did());
    // The founder and a member; and two members, whoever brings them together.
    for others in [vec![bob.did()], vec![carol.did(), dave.did()]] {
        let (_, input) = alice.founding(&others).await;
        let refused = alice.post_refused("createConvo", &input).await;
        assert_eq!(refused.told(), (403, "MutualBlockDetected"));
        assert!(!refused.message.contains("did:"), "{}", refused.message);
    }
    for phone in [&carol, &dave] {
        phone.post("publishKeyPackage", &phone.key_package()).await;
    }
    let mut group = alice.found(&[carol.did()]).await;
    let input = alice.adding(&mut group, &dave).await;
    let refused = alice.post_refused("addMembers", &input).await;
    assert_eq!(refused.told(), (403, "BlockedByMember"));
    assert!(refused.message.starts_with("didList:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_founded_before_somebody_blocked_somebody_is_found_again() {
    let appview = AppView::start().await;
    let world = asking(&appview, |blocks| blocks.fresh_for = Duration::ZERO).await;
    let [alice, bob] = phones(&world).await;
    let (_, input) = alice.founding(&[bob.did()]).await;
    let founded = alice.post("createConvo", &input).await;
    appview.block(bob.did(), alice.did());
    assert_eq!(alice.post("createConvo", &input).await, founded);
    // Nobody else learns that it is there.
    let refused = bob
        .post_refused(
            "createConvo",
            &with(&input, json!({"initialMembers": [alice.did()]})),
        )
        .await;
    assert_eq!(refused.name, "MutualBlockDetected");
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_change_that_cannot_be_read_no_appview_is_asked() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let [alice, bob] = phones(&world).await;
    let mut group = alice.found(&[]).await;
    let input = alice.adding(&mut group, &bob).await;
    for field in ["commit", "groupInfo"] {
        let garbled = with(&input, json!({field: text(b"no MLS")}));
        let refused = alice.post_refused("addMembers", &garbled).await;
        assert!(refused.message.starts_with(field), "{}", refused.message);
    }
    assert_eq!(appview.questions(), 0);
    alice.post("addMembers", &input).await;
    assert_eq!(appview.questions(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_was_accepted_is_answered_again_whoever_blocks_whom_by_now() {
    let appview = AppView::start().await;
    let world = asking(&appview, |blocks| blocks.fresh_for = Duration::ZERO).await;
    let [alice, bob, carol] = phones(&world).await;
    let mut group = alice.found(&[]).await;
    let late = alice.adding(&mut group, &carol).await;
    group.abandon_commit().unwrap();
    let input = alice.adding(&mut group, &bob).await;
    let answer = alice.post("addMembers", &input).await;
    let leaving = json!({"convoId": group.id()});
    bob.post("leaveConvo", &leaving).await;
    appview.block(bob.did(), alice.did());
    let asked = appview.questions();
    assert_eq!(alice.post("addMembers", &input).await, answer);
    let refused = alice.post_refused("addMembers", &late).await;
    assert_eq!(refused.name, "EpochMismatch");
    assert_eq!(appview.questions(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_blocks_whom_is_told_and_remembered_for_a_while() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let (alice, bob, carol) = (world.account(), world.account(), world.account());
    appview.block(bob.did(), carol.did());
    let dids = [
        ("dids", alice.did()),
        ("dids", bob.did()),
        ("dids", carol.did()),
    ];
    let told = alice.get("checkBlocks", &dids).await;
    let blocks = told["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 1);
    assert_says(
        &blocks[0],
        json!({"blockerDid": bob.did(), "blockedDid": carol.did()}),
    );
    let uri = blocks[0]["blockUri"].as_str().unwrap();
    assert!(uri.starts_with(&format!("at://{}/", bob.did())));
    // Asked again, it is known; and an AppView that is away changes nothing.
    let asked = appview.questions();
    appview.set_down(true);
    assert_eq!(
        alice.get("checkBlocks", &dids).await["blocks"],
        told["blocks"]
    );
    assert_eq!(appview.questions(), asked);

    // What was never known is not taken for "no block".
    let stranger = world.account();
    let unknown = [("dids", alice.did()), ("dids", stranger.did())];
    let refused = alice.get_refused("checkBlocks", &unknown).await;
    assert_eq!(refused.told(), (503, "BlueskyServiceUnavailable"));
    assert!(refused.headers.contains_key("retry-after"));
    let many: Vec<String> = (0..60).map(|n| format!("did:plc:{n:024}")).collect();
    let many: Vec<_> = many.iter().map(|did| ("dids", did.as_str())).collect();
    let refused = alice.get_refused("checkBlocks", &many).await;
    assert_eq!(refused.name, "TooManyDids");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appview_that_is_away_lets_nobody_be_put_anywhere() {
    let appview = AppView::start().await;
    let world = asking(&appview, |blocks| {
        // Always asked, and remembered for an outage.
        blocks.fresh_for = Duration::ZERO;
    })
    .await;
    let [alice, bob, carol] = phones(&world).await;
    alice.found(&[bob.did()]).await;
    appview.set_down(true);
    let (_, input) = alice.founding(&[carol.did()]).await;
    let refused = alice.post_refused("createConvo", &input).await;
    assert_eq!(refused.name, "BlueskyServiceUnavailable");
    // Of Bob it said a moment ago that there is no block.
    bob.post("publishKeyPackage", &bob.key_package()).await;
    alice.found(&[bob.did()]).await;
    // Alone, nobody is asked about.
    alice.found(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appview_that_failed_is_left_alone_as_long_as_the_operator_says() {
    for seconds in [0, 600] {
        let appview = AppView::start().await;
        let world = asking(&appview, |blocks| {
            blocks.pause = Duration::from_secs(seconds)
        })
        .await;
        let [alice, bob] = phones(&world).await;
        let (_, input) = alice.founding(&[bob.did()]).await;
        appview.set_down(true);
        let refused = alice.post_refused("createConvo", &input).await;
        assert_eq!(refused.name, "BlueskyServiceUnavailable");
        appview.set_down(false);
        let asked = appview.questions();
        match seconds {
            0 => drop(alice.post("createConvo", &input).await),
            // Nobody need come before it is asked again.
            _ => {
                let refused = alice.post_refused("createConvo", &input).await;
                let wait = refused.headers["retry-after"].to_str().unwrap();
                assert!((500..=600).contains(&wait.parse().unwrap()), "{wait} s");
            }
        }
        assert_eq!(appview.questions() > asked, seconds == 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_comes_later_is_told_to_the_admins_when_the_appview_says_so() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let [alice, bob, carol] = phones(&world).await;
    let group = alice.found(&[bob.did(), carol.did()]).await;
    let id = group.id();
    let mut alices = world.live(&alice).await;
    let [created, removed] = ["created", "removed"].map(|action| change(&bob, &carol, action));
    let refused = alice.post_refused("handleBlockChange", &created).await;
    assert_eq!(refused.told(), (403, "NotAuthorized"));
    let refused = bob.post_refused("handleBlockChange", &created).await;
    assert_eq!(refused.name, "BlockNotVerified");

    appview.block(bob.did(), carol.did());
    let told = bob.post("handleBlockChange", &created).await;
    let affected = json!({"convoId": id, "action": "admin_notified", "adminNotified": true});
    assert_says(&told["affectedConvos"][0], affected);
    alices.next_named("#conversationUpdated").await;
    let ask = [("convoId", id.as_str())];
    let status = alice.get("getBlockStatus", &ask).await;
    let conflict = json!({"hasConflicts": true, "memberCount": 3, "isComplete": true});
    assert_says(&status, conflict);
    assert_eq!(status["blocks"][0]["blockerDid"], bob.did());
    let refused = bob.get_refused("getBlockStatus", &ask).await;
    assert_eq!(refused.name, "NotAdmin");
    let refused = world.account().get_refused("getBlockStatus", &ask).await;
    assert_eq!(refused.name, "ConvoNotFound");

    // Lifted, it is a conflict resolved; admins are told once of each.
    let resolved = async || {
        let stats = alice.get("getAdminStats", &ask).await;
        stats["stats"]["blockConflictsResolved"].clone()
    };
    assert_eq!(resolved().await, 0);
    let refused = carol.post_refused("handleBlockChange", &removed).await;
    assert_eq!(refused.name, "BlockNotVerified");
    appview.unblock(bob.did(), carol.did());
    let told = carol.post("handleBlockChange", &removed).await;
    assert_eq!(told["affectedConvos"][0]["action"], "no_action");
    assert_eq!(resolved().await, 1);
    let status = alice.get("getBlockStatus", &ask).await;
    assert_eq!(status["hasConflicts"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_is_over_when_one_of_the_two_goes() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let [alice, bob] = phones(&world).await;
    let group = alice.found(&[bob.did()]).await;
    appview.block(bob.did(), alice.did());
    let change = change(&bob, &alice, "created");
    let told = bob.post("handleBlockChange", &change).await;
    // Nobody else is admin there.
    assert_eq!(told["affectedConvos"][0]["action"], "requires_resolution");
    bob.leave(&group).await;
    let stats = alice
        .get("getAdminStats", &[("convoId", &group.id())])
        .await;
    assert_eq!(stats["stats"]["blockConflictsResolved"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_would_take_too_many_questions_the_caller_and_what_is_known_are_checked() {
    let appview = AppView::start().await;
    let world = asking(&appview, |blocks| {
        blocks.questions_per_call = 1;
        blocks.fresh_for = Duration::ZERO;
    })
    .await;
    let [alice, bob, carol, dave] = phones(&world).await;
    appview.block(bob.did(), alice.did());
    appview.block(carol.did(), dave.did());
    let all = [bob.did(), carol.did(), dave.did()];
    let (_, input) = alice.founding(&all).await;
    let refused = alice.post_refused("createConvo", &input).await;
    assert_eq!(refused.name, "MutualBlockDetected");
    assert_eq!(appview.questions(), 1);
    for phone in [&carol, &dave, &carol, &dave] {
        phone.post("publishKeyPackage", &phone.key_package()).await;
    }
    let group = alice.found(&all[1..]).await;
    let (_, again) = alice.founding(&all[1..]).await;

    // Admins are told what is known, and that it may not be all.
    let change = change(&carol, &dave, "created");
    carol.post("handleBlockChange", &change).await;
    // What the relay was told of counts, however many they are.
    let refused = alice.post_refused("createConvo", &again).await;
    assert_eq!(refused.name, "MutualBlockDetected");
    for _ in 0..3 {
        let newcomer = Phone::new(&world).await;
        let mut fresh = alice.device.create_group().unwrap();
        let commit = fresh.add(&alice.claim(&[newcomer.did()]).await).unwrap();
        let input = json!({
            "convoId": group.id(),
            "didList": [newcomer.did()],
            "welcomeMessage": text(&commit.welcome.unwrap()),
        });
        alice.post("addMembers", &input).await;
    }
    let status = alice
        .get("getBlockStatus", &[("convoId", &group.id())])
        .await;
    assert_says(&status, json!({"isComplete": false, "memberCount": 6}));
    assert_eq!(status["blocks"][0]["blockerDid"], carol.did());
}

/// Accounts that were never asked about.
fn strangers(world: &World, count: usize) -> Vec<String> {
    let strangers = (0..count).map(|_| world.account().did().to_owned());
    strangers.collect()
}

fn about(dids: &[String]) -> Vec<(&str, &str)> {
    dids.iter().map(|did| ("dids", did.as_str())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_without_end_spends_its_own_questions() {
    let appview = AppView::start().await;
    let world = asking(&appview, |blocks| blocks.questions_per_account = 2).await;
    let [alice, bob] = phones(&world).await;
    let group = alice.found(&[bob.did()]).await;
    let known = strangers(&world, 3);
    alice.get("checkBlocks", &about(&known)).await;
    let asked = appview.questions();
    let unknown = strangers(&world, 2);
    let refused = alice.get_refused("checkBlocks", &about(&unknown)).await;
    assert_eq!(refused.told(), (429, "RateLimitExceeded"));
    assert!(refused.headers.contains_key("retry-after"));
    let change = change(&alice, &bob, "created");
    let refused = alice.post_refused("handleBlockChange", &change).await;
    assert_eq!(refused.name, "RateLimitExceeded");
    assert_eq!(appview.questions(), asked);
    // What is remembered costs nothing, and others have their own.
    alice.get("checkBlocks", &about(&known)).await;
    bob.get("checkBlocks", &about(&unknown)).await;
    // Nor does it keep anybody from adding people.
    let carol = Phone::new(&world).await;
    alice.found(&[carol.did()]).await;
    let id = group.id();
    let ask = [("convoId", id.as_str())];
    let status = alice.get("getBlockStatus", &ask).await;
    assert_eq!(
        status["isComplete"], true,
        "of those nothing had to be asked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appview_that_is_asked_too_often_has_answers_left_for_who_founds() {
    let appview = AppView::start().await;
    let world = asking(&appview, |_| {}).await;
    let [alice, bob] = phones(&world).await;
    let (_, input) = alice.founding(&[bob.did()]).await;
    appview.set_per_second(10);
    let mallory = world.account();
    let floods: Vec<_> = (0..4).map(|_| strangers(&world, 30)).collect();
    let flood = floods.iter().map(|dids| async {
        let request = mallory.get_request("checkBlocks", &about(dids));
        mallory.exchange(request).await
    });
    let flood = futures_util::future::join_all(flood);
    let found = async {
        eventually("it is asked too often", async || appview.limited() > 0).await;
        alice.post("createConvo", &input).await
    };
    let (flooded, _founded) = futures_util::future::join(flood, found).await;
    assert!(flooded.iter().all(|(status, _, _)| !status.is_success()));
    assert!(appview.questions() <= 60 + 2, "{}", appview.questions());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_appview_no_block_is_known_and_none_is_invented() {
    let (_world, [alice, bob], group) = together().await;
    let dids = [("dids", alice.did()), ("dids", bob.did())];
    let change = change(&bob, &alice, "created");
    let refusals = [
        alice.get_refused("checkBlocks", &dids).await,
        alice
            .get_refused("getBlockStatus", &[("convoId", &group.id())])
            .await,
        bob.post_refused("handleBlockChange", &change).await,
    ];
    for refused in refusals {
        // Nothing is broken, and there is nothing to wait for.
        assert_eq!(refused.told(), (400, "BlueskyServiceUnavailable"));
        assert!(!refused.headers.contains_key("retry-after"));
    }
}

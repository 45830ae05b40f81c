//! Calls that meet in the middle of each other: whichever comes first, nobody is left where it
//! should not be.

use chrono::Utc;
use futures_util::future::join_all;
use mls_relay::types::Did;
use serde_json::json;

use crate::phone::{Phone, people, together};
use crate::world::{World, text};

/// The account's seats that go on.
async fn seats(world: &World, did: &str) -> i64 {
    let sql = "SELECT count(*) FROM members WHERE user_did = $1 AND left_seq IS NULL";
    world.database.one(sql, &[&did]).await
}

/// Puts Bob's device into a conversation while `ending` is under way: who founds it has the
/// key package first.
async fn added_while(world: &World, bob: &Phone, ending: impl Future<Output = ()>) {
    let alice = Phone::new(world).await;
    let (_, founding) = alice.founding(&[bob.did()]).await;
    let founding = alice.post("createConvo", &founding);
    let packages = "key_packages WHERE user_did = $1";
    world
        .database
        .meeting(packages, bob.did(), founding, ending)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_added_while_its_account_ends_is_in_no_conversation_after_that() {
    let (world, [bob]) = people().await;
    let did = Did::parse(bob.did()).unwrap();
    let ending = async {
        let gone = world.store.delete_account(&did, Utc::now()).await.unwrap();
        assert_eq!((gone.devices, gone.conversations), (1, 1));
    };
    added_while(&world, &bob, ending).await;
    assert_eq!(seats(&world, bob.did()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_added_while_it_is_deleted_is_in_no_conversation_after_that() {
    let (world, [bob]) = people().await;
    let ending = async {
        let gone = bob.delete(&bob).await;
        assert_eq!(gone["conversationsLeft"], 1);
    };
    added_while(&world, &bob, ending).await;
    assert_eq!(seats(&world, bob.did()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_that_name_no_device_and_confirm_at_once_leave_nothing_waiting() {
    let (world, [alice, bob]) = people().await;
    let tablet = Phone::of(&bob).await;
    let group = alice.found(&[bob.did()]).await;
    let id = group.id();
    let ask = [("convoId", id.as_str())];
    for phone in [&bob, &tablet] {
        phone.get("getWelcome", &ask).await;
    }
    let done = json!({"convoId": id, "success": true});
    let first = bob.post("confirmWelcome", &done);
    let second = tablet.post("confirmWelcome", &done);
    let welcomes = "welcomes WHERE user_did = $1";
    world
        .database
        .meeting(welcomes, bob.did(), first, second)
        .await;
    let refused = bob.get_refused("getWelcome", &ask).await;
    assert_eq!(refused.name, "WelcomeNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_ends_and_who_adds_two_of_its_devices_do_not_wait_for_each_other() {
    let (world, [alice]) = people().await;
    // Its packages were published in another order than that of their references.
    let bob = loop {
        let bob = Phone::new(&world).await;
        Phone::of(&bob).await;
        let sql = "SELECT reference FROM key_packages WHERE user_did = $1 ORDER BY id";
        let references: Vec<Vec<u8>> = world.database.all(sql, &[&bob.did()]).await;
        if references[0] > references[1] {
            break bob;
        }
    };
    let (_, founding) = alice.founding(&[bob.did()]).await;
    let did = Did::parse(bob.did()).unwrap();
    let first = "key_packages WHERE reference = (
        SELECT reference FROM key_packages WHERE user_did = $1 ORDER BY reference LIMIT 1)";
    let founding = alice.post("createConvo", &founding);
    let ending = async { world.store.delete_account(&did, Utc::now()).await.unwrap() };
    world
        .database
        .meeting(first, bob.did(), founding, ending)
        .await;
    assert_eq!(seats(&world, bob.did()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_by_a_conversation_that_ends_meanwhile_is_not_kept() {
    let (world, [alice], group) = together().await;
    let info = text(&group.group_info().unwrap());
    let keep = json!({"convoId": group.id(), "groupInfo": info, "epoch": 0});
    let leave = json!({"convoId": group.id()});
    let leaving = alice.post("leaveConvo", &leave);
    let keeping = alice.post_refused("updateGroupInfo", &keep);
    let conversation = "conversations WHERE creator_did = $1";
    let keeping = async { assert_eq!(keeping.await.name, "ConvoNotFound") };
    world
        .database
        .meeting(conversation, alice.did(), leaving, keeping)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_that_takes_the_place_of_another_while_that_is_fetched_is_given() {
    let (world, [_, bob], group) = together().await;
    let mut client = world.database.client().await;
    let commit = client.transaction().await.unwrap();
    let anew =
        "WITH old AS (DELETE FROM welcomes RETURNING convo_id, user_did, device_id, welcome, epoch)
        INSERT INTO welcomes (convo_id, user_did, device_id, welcome, epoch) SELECT * FROM old";
    assert_eq!(commit.execute(anew, &[]).await.unwrap(), 1);
    let committing = async {
        world.database.waiting(1).await;
        commit.commit().await.unwrap();
    };
    let (joined, ()) = tokio::join!(bob.join(&group), committing);
    assert_eq!(joined.authenticator(), group.authenticator());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_calls_much_at_once_waits_for_itself_and_nobody_else_does() {
    let (world, [alice, bob], group) = together().await;
    let mut client = world.database.client().await;
    let holder = client.transaction().await.unwrap();
    let hold = "SELECT FROM conversations FOR UPDATE";
    assert_eq!(holder.execute(hold, &[]).await.unwrap(), 1);
    // Far more than there are connections, and each needs what is held.
    let promote = json!({"convoId": group.id(), "targetDid": bob.did()});
    let request = || alice.post_request("promoteAdmin", &promote);
    let promotions = join_all((0..32).map(|_| alice.exchange(request())));
    let meanwhile = async {
        world.database.waiting(2).await;
        for _ in 0..20 {
            bob.get("getConvos", &[]).await;
        }
        holder.commit().await.unwrap();
    };
    let (promoted, ()) = tokio::join!(promotions, meanwhile);
    let made = promoted.iter().filter(|(status, ..)| status.is_success());
    assert_eq!(made.count(), 1, "the others found it done");
}

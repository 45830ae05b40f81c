//! Answers that are given twice: a call that is repeated under its key runs once, on
//! whichever node, for as long as is configured.

use std::time::{Duration, Instant};

use http::StatusCode;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::{Value, json};

use crate::phone::{Phone, people, together};
use crate::world::{World, with};

/// What createConvo takes, under a key.
fn founding() -> Value {
    json!({
        "groupId": "abcd",
        "cipherSuite": CIPHER_SUITE_NAME,
        "idempotencyKey": "first",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_repeated_under_its_key_runs_once() {
    let (world, [alice]) = people().await;
    let input = founding();
    // Refusals are not kept: the same key may be tried again.
    let bad = with(&input, json!({"initialMembers": ["did:plc:somebody"]}));
    let refused = alice.post_refused("createConvo", &bad).await;
    assert_eq!(refused.name, "InvalidRequest");

    let parallel = (0..5).map(|_| {
        let (client, input) = (alice.client.clone(), input.clone());
        tokio::spawn(async move { client.post("createConvo", &input).await })
    });
    let mut answers = Vec::new();
    for answer in parallel.collect::<Vec<_>>() {
        answers.push(answer.await.unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    // What happened since does not change the answer.
    alice.post("leaveConvo", &json!({"convoId": "abcd"})).await;
    assert_eq!(alice.post("createConvo", &input).await, answers[0]);

    let other = with(&input, json!({"groupId": "abce"}));
    let refused = alice.post_refused("createConvo", &other).await;
    assert_eq!(refused.told(), (409, "Conflict"));
    // Somebody else's key is another key.
    let bob = Phone::new(&world).await;
    bob.post("createConvo", &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_known_by_its_id_and_no_key_tells_who_sent_it() {
    let (world, [alice], mut group) = together().await;
    let named = |message: &Value| with(message, json!({"idempotencyKey": message["msgId"]}));
    let message = named(&alice.message(&mut group, b"once"));
    let sent = alice.post("sendMessage", &message).await;
    assert_eq!(alice.post("sendMessage", &message).await, sent);
    let other = alice.message(&mut group, b"other");
    let taken = with(&message, json!({"ciphertext": other["ciphertext"]}));
    let refused = alice.post_refused("sendMessage", &taken).await;
    assert_eq!(refused.name, "Conflict");
    // Another message under that key is another message.
    let other = with(&other, json!({"idempotencyKey": message["msgId"]}));
    assert_eq!(alice.post("sendMessage", &other).await["seq"], 2);

    let kept = "SELECT count(*) FROM idempotency_keys";
    let kept: i64 = world.database.one(kept, &[]).await;
    assert_eq!(kept, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_known_to_every_node_and_for_as_long_as_is_configured() {
    // Times are kept in steps of two seconds: of these three are sure.
    let keep = Duration::from_secs(5);
    let world = World::with(|settings| settings.xrpc.idempotency_keep = keep).await;
    let alice = Phone::new(&world).await;
    let elsewhere = world.another_node().await;
    let there = elsewhere.client(&alice);
    let input = founding();
    let first = alice.post("createConvo", &input).await;
    assert_eq!(there.post("createConvo", &input).await, first);
    let other = with(&input, json!({"groupId": "abce"}));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut refusals = 0;
    loop {
        let request = there.post_request("createConvo", &other);
        let (status, _, answer) = there.exchange(request).await;
        if status == StatusCode::OK {
            assert_eq!(answer["id"], "abce");
            break;
        }
        assert_eq!(answer["error"], "Conflict");
        refusals += 1;
        assert!(Instant::now() < deadline, "the key is never free again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refusals > 0, "it was free at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_went_away_before_the_answer_hears_it_when_asking_again() {
    let (world, [alice]) = people().await;
    let input = founding();
    let mut holder = world.database.client().await;
    let lock = holder.transaction().await.unwrap();
    let all = "LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE";
    lock.batch_execute(all).await.unwrap();
    let (client, asked) = (alice.client.clone(), input.clone());
    let asking = tokio::spawn(async move { client.post("createConvo", &asked).await });
    world.database.waiting(1).await;
    asking.abort();
    // For the relay to see the connection end, which nothing tells us.
    tokio::time::sleep(Duration::from_millis(200)).await;
    lock.rollback().await.unwrap();
    let answer = alice.post("createConvo", &input).await;
    assert_eq!(answer["id"], "abcd");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_again_meanwhile_waits_for_the_answer_to_the_end() {
    let (world, [alice]) = people().await;
    let input = founding();
    let mut holder = world.database.client().await;
    let lock = holder.transaction().await.unwrap();
    let all = "LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE";
    lock.batch_execute(all).await.unwrap();
    let first = alice.post("createConvo", &input);
    let second = async {
        world.database.waiting(1).await;
        // In the last of its pauses, which is a second long, the first is answered.
        let last_pause = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            lock.rollback().await.unwrap();
        };
        tokio::join!(alice.post("createConvo", &input), last_pause).0
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, second);
}

//! A nonce is used once, whether by a question of its own or by the send it came with,
//! against a real Postgres.

use chrono::{DateTime, TimeDelta, Utc};
use mls_relay::store::{AppendError, NewMessage, Nonce, Store};
use mls_relay::types::ConvoId;

use crate::database::Database;
use crate::store_values;
use crate::store_values::did;

const LATER: DateTime<Utc> = DateTime::from_timestamp(4_000_000_000, 0).unwrap();

fn nonce(number: u8) -> Nonce {
    Nonce {
        key: [number; 32],
        until: LATER,
    }
}

async fn found(store: &Store, number: u8) -> ConvoId {
    let convo = ConvoId::of_group(&[number; 16]).unwrap();
    store_values::found(store, &convo, &did("alice")).await;
    convo
}

fn message(convo: &ConvoId, nonce: Nonce) -> NewMessage {
    NewMessage {
        nonce: Some(nonce),
        ..store_values::message(convo, &did("alice"))
    }
}

async fn stored(store: &Store, convo: &ConvoId) -> usize {
    let alice = did("alice");
    store.messages(convo, &alice, 0, 100).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_new_once_also_among_many_at_once() {
    let database = Database::start().await;
    let (one, _first) = database.store().await;
    let (two, _second) = database.store().await;
    let claims = (0..64).map(|i| {
        let store = if i % 2 == 0 { one.clone() } else { two.clone() };
        tokio::spawn(async move { store.use_up(nonce(5)).await.unwrap() })
    });
    let mut new = 0;
    for claim in claims.collect::<Vec<_>>() {
        new += u32::from(claim.await.unwrap());
    }
    assert_eq!(new, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_may_have_been_forgotten_is_not_taken_for_a_new_one() {
    let (database, store, _shutdown) = Database::with_store().await;
    let convo = found(&store, 1).await;
    // As to a node whose clock is behind: it takes the token for good.
    let until = Utc::now() - TimeDelta::seconds(3);
    let over = |number| Nonce {
        until,
        ..nonce(number)
    };
    assert!(store.use_up(over(11)).await.unwrap());
    let forgetting = store.forgetting("nonces").await.unwrap().unwrap();
    assert_eq!(forgetting.jtis().await, Ok(1));
    assert!(!store.use_up(over(11)).await.unwrap());
    let again = store.append(message(&convo, over(12))).await;
    assert_eq!(again, Err(AppendError::NonceUsed));
    // What a clock forgot that ran ahead keeps nobody out when it is right again.
    let ahead = "UPDATE nonce_floor SET forgotten = '2100-01-01'";
    database.run(ahead).await;
    assert!(store.use_up(over(13)).await.unwrap());
    store.append(message(&convo, over(14))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_sends_with_one_nonce_one_is_stored() {
    let database = Database::start().await;
    let (one, _first) = database.store().await;
    let (two, _second) = database.store().await;
    // Several conversations: their sends go to different committers.
    let mut convos = Vec::new();
    for number in 0..4 {
        convos.push(found(&one, number).await);
    }
    let sends = (0..64).map(|i| {
        let store = if i % 2 == 0 { one.clone() } else { two.clone() };
        let message = message(&convos[i % 4], nonce(6));
        tokio::spawn(async move { store.append(message).await })
    });
    let mut taken = 0;
    for send in sends.collect::<Vec<_>>() {
        match send.await.unwrap() {
            Ok(_) => taken += 1,
            Err(error) => assert_eq!(error, AppendError::NonceUsed),
        }
    }
    assert_eq!(taken, 1);
    let mut kept = 0;
    for convo in &convos {
        kept += stored(&one, convo).await;
    }
    assert_eq!(kept, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_a_send_has_used_is_used_for_all_others_and_the_other_way_round() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let convo = found(&store, 1).await;
    store.append(message(&convo, nonce(7))).await.unwrap();
    assert!(!store.use_up(nonce(7)).await.unwrap());
    assert!(store.use_up(nonce(8)).await.unwrap());
    let refused = store.append(message(&convo, nonce(8))).await;
    assert_eq!(refused, Err(AppendError::NonceUsed));
    assert_eq!(stored(&store, &convo).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_is_refused_has_used_its_nonce() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let convo = found(&store, 1).await;
    let stranger = NewMessage {
        sender: did("mallory"),
        ..message(&convo, nonce(9))
    };
    assert_eq!(store.append(stranger).await, Err(AppendError::NotMember));
    assert!(!store.use_up(nonce(9)).await.unwrap());
}

/// The connection broke after the commit: the node asks again with the same nonce, which
/// is its own. Anybody else's repetition is a replay.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_lost_is_given_again_and_a_replayed_token_gets_none() {
    let (database, store, _shutdown) = Database::with_store().await;
    let convo = found(&store, 1).await;
    let message = message(&convo, nonce(10));
    store.append(message.clone()).await.unwrap();
    assert_eq!(
        store.append(message.clone()).await,
        Err(AppendError::NonceUsed)
    );
    let client = database.client().await;
    let asked_again = client
        .query_one(
            "SELECT outcome, seq FROM append_messages(ARRAY[$1], ARRAY['did:plc:alice'], \
             ARRAY[$2], ARRAY[0::bigint], ARRAY[$3::bytea], ARRAY[$4::bytea], ARRAY[$5::timestamptz], \
             '1 hour', true)",
            &[
                &convo.expose(),
                &message.message_id.expose(),
                &message.ciphertext.as_ref(),
                &nonce(10).key.as_slice(),
                &LATER,
            ],
        )
        .await
        .unwrap();
    let answer: (&str, i64) = (asked_again.get(0), asked_again.get(1));
    assert_eq!(answer, ("repeated", 1));
    assert_eq!(stored(&store, &convo).await, 1);
}

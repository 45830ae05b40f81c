//! What the event stream promises, against a real Postgres.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use futures_util::future::join_all;
use mls_relay::store::{
    AppendError, ChangeOutcome, GroupChange, Joining, Leaving, Membership, NewMessage, Nonce, Run,
    Store, StoreError, StoredEvent, Topic,
};
use mls_relay::types::{ConvoId, Epoch, MessageId, Seq};

use crate::database::Database;
use crate::store_values::{change, did, found, key_package, message};

fn epoch(value: u64) -> Epoch {
    Epoch::try_from(value).unwrap()
}

async fn all_events(store: &Store) -> Vec<u64> {
    let head = store.ends().await.unwrap().head;
    let events = store
        .events_between(Seq::ZERO, head, 100_000)
        .await
        .unwrap();
    events.iter().map(|event| event.seq.get()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_sends_get_dense_numbers_and_none_is_lost() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let convos: Vec<ConvoId> = (0..8)
        .map(|i| ConvoId::of_group(&[i; 16]).unwrap())
        .collect();
    for convo in &convos {
        found(&store, convo, &alice).await;
    }
    let sends = (0..400).map(|i| {
        let (store, alice, convo) = (store.clone(), alice.clone(), convos[i % 8].clone());
        tokio::spawn(async move { store.append(message(&convo, &alice)).await })
    });
    for send in sends.collect::<Vec<_>>() {
        send.await.unwrap().unwrap();
    }
    // Eight joining events and four hundred messages, without a hole.
    assert_eq!(all_events(&store).await, (1..=408).collect::<Vec<u64>>());
    for convo in &convos {
        let numbers: Vec<u64> = store
            .messages(convo, &alice, 0, 100)
            .await
            .unwrap()
            .iter()
            .map(|m| m.seq)
            .collect();
        assert_eq!(numbers, (1..=50).collect::<Vec<u64>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_item_fails_alone() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let (alice, mallory) = (did("alice"), did("mallory"));
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    found(&store, &convo, &alice).await;
    let stranger = message(&convo, &mallory);
    let stale = NewMessage {
        epoch: epoch(9),
        ..message(&convo, &alice)
    };
    // Not a bucket's size: Postgres itself refuses the whole statement.
    let odd = NewMessage {
        ciphertext: Bytes::from_static(b"odd"),
        ..message(&convo, &alice)
    };
    let good = message(&convo, &alice);
    let (stranger, stale, odd, good) = tokio::join!(
        store.append(stranger),
        store.append(stale),
        store.append(odd),
        store.append(good)
    );
    assert_eq!(stranger, Err(AppendError::NotMember));
    assert_eq!(stale, Err(AppendError::EpochMismatch { current: epoch(0) }));
    assert!(matches!(
        odd,
        Err(AppendError::Store(StoreError::Refused(_)))
    ));
    assert_eq!(good.unwrap().seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_day_that_nobody_made_a_table_for_writers_make_it_and_go_on() {
    let (database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let convos = [[1; 16], [2; 16], [3; 16]].map(|id| ConvoId::of_group(&id).unwrap());
    // As when the clock has leapt over all days that stood ready.
    let leap = async |parent: &str| {
        let days = "SELECT inhrelid::regclass::text FROM pg_inherits \
             WHERE inhparent = to_regclass($1)";
        for day in database.all::<String>(days, &[&parent]).await {
            database.run(&format!("DROP TABLE {day}")).await;
        }
    };
    leap("event_stream").await;
    for convo in &convos {
        found(&store, convo, &alice).await;
    }
    leap("messages").await;
    // Both committers at once, one with a batch.
    let sends = (0..12).zip(convos.iter().cycle()).map(|(index, convo)| {
        let nonce = Nonce {
            key: [index; 32],
            until: Utc::now() + TimeDelta::minutes(5),
        };
        store.append(NewMessage {
            nonce: Some(nonce),
            ..message(convo, &alice)
        })
    });
    for sent in join_all(sends).await {
        sent.unwrap();
    }
    for parent in ["event_stream", "messages"] {
        let days = "SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass($1)";
        let days: i64 = database.one(days, &[&parent]).await;
        // Yesterday to in three days; and one more, if it became midnight meanwhile.
        assert!((5..=6).contains(&days), "{days} of {parent}");
    }
}

#[tokio::test]
async fn a_day_begins_at_midnight_utc_wherever_postgres_is() {
    let (database, _store, _shutdown) = Database::with_store().await;
    let days = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class
        WHERE relkind = 'r' AND relispartition ORDER BY relname";
    for bounds in database.all::<String>(days, &[]).await {
        assert_eq!(bounds.matches(" 00:00:00 UTC'").count(), 2, "{bounds}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_message_gets_its_first_answer_and_another_one_a_conflict() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    found(&store, &convo, &alice).await;
    let one = message(&convo, &alice);
    let twice = tokio::join!(store.append(one.clone()), store.append(one.clone()));
    let first = twice.0.unwrap();
    assert_eq!(twice.1.unwrap(), first);
    assert_eq!(store.append(one.clone()).await.unwrap(), first);
    let other = NewMessage {
        ciphertext: Bytes::from(vec![8; 512]),
        ..one
    };
    assert_eq!(store.append(other).await, Err(AppendError::Conflict));
    assert_eq!(all_events(&store).await, vec![1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_id_is_spent_for_as_long_as_repetitions_are_recognised() {
    let database = Database::start().await;
    let hour = Duration::from_secs(3600);
    let (store, _shutdown) = database.store_with(|s| s.repeat_window = hour).await;
    let alice = did("alice");
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    found(&store, &convo, &alice).await;
    let one = message(&convo, &alice);
    let age = async |minutes: i32| {
        let sql = "UPDATE messages SET received_at = received_at - make_interval(mins => $1)";
        database.change(sql, &[&minutes]).await;
    };
    let first = store.append(one.clone()).await.unwrap();
    age(58).await;
    assert_eq!(store.append(one.clone()).await.unwrap().seq, first.seq);
    // After that it is another message: a client must have read on before.
    age(4).await;
    assert_eq!(store.append(one).await.unwrap().seq, first.seq + 1);
}

/// The classic fault: the transaction with the smaller cursor commits second, and a
/// reader that has seen the larger one never sees it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_transaction_cannot_hide_behind_a_later_cursor() {
    let (database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let (slow, fast) = (
        ConvoId::of_group(&[1; 16]).unwrap(),
        ConvoId::of_group(&[2; 16]).unwrap(),
    );
    found(&store, &slow, &alice).await;
    found(&store, &fast, &alice).await;

    // A transaction has its cursor and does not commit yet.
    let mut client = database.client().await;
    let transaction = client.transaction().await.unwrap();
    transaction
        .execute(
            "SELECT emit_events(ARRAY[$1::text], ARRAY[NULL::text], ARRAY['conversationUpdated'], \
             ARRAY[',\"type\":\"conversationUpdated\"'])",
            &[&slow.expose()],
        )
        .await
        .unwrap();
    let later = {
        let store = store.clone();
        let message = message(&fast, &alice);
        tokio::spawn(async move { store.append(message).await })
    };
    // The later one must wait: a reader may never see it first.
    database.waiting(1).await;
    assert_eq!(all_events(&store).await, vec![1, 2]);
    transaction.commit().await.unwrap();
    later.await.unwrap().unwrap();
    assert_eq!(all_events(&store).await, vec![1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_grow_when_the_stream_is_ahead_of_the_clock() {
    let (database, store, _shutdown) = Database::with_store().await;
    let alice = did("alice");
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    // As after a clock step backwards: the last event is a day ahead.
    database
        .run("UPDATE stream_floor SET emitted_at = date_bin('2 seconds', now() + '1 day', 'epoch')")
        .await;
    found(&store, &convo, &alice).await;
    store.append(message(&convo, &alice)).await.unwrap();
    let events = store
        .events_between(Seq::ZERO, Seq::new(10), 10)
        .await
        .unwrap();
    let cursors = events
        .iter()
        .map(|event| event.envelope.read().unwrap().cursor());
    let cursors: Vec<_> = cursors.collect();
    assert!(cursors.is_sorted_by(|before, after| before < after));
    assert!(cursors[0].expose() > ulid::Ulid::generate().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_postgres_keeps_every_answered_send() {
    let mut database = Database::start().await;
    let (store, _shutdown) = database.store().await;
    let alice = did("alice");
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    found(&store, &convo, &alice).await;
    let mut answered = HashSet::new();
    for _ in 0..50 {
        let message = message(&convo, &alice);
        answered.insert(message.message_id.clone());
        store.append(message).await.unwrap();
    }
    database.down("immediate");
    let during = store.append(message(&convo, &alice)).await;
    assert!(matches!(during, Err(AppendError::Store(error)) if error.is_transient()));
    database.up().await;
    let kept: HashSet<MessageId> = store
        .messages(&convo, &alice, 0, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|m| m.message_id)
        .collect();
    assert_eq!(kept, answered);
    assert_eq!(store.append(message(&convo, &alice)).await.unwrap().seq, 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_came_and_went_sees_exactly_the_events_of_the_stay() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let (alice, bob) = (did("alice"), did("bob"));
    let convo = ConvoId::of_group(&[1; 16]).unwrap();
    store
        .publish_key_packages(&bob, None, &[key_package([1; 32])], 10, 32)
        .await
        .unwrap();
    found(&store, &convo, &alice).await; // 1: alice joined
    store.append(message(&convo, &alice)).await.unwrap(); // 2
    let joining = Joining {
        users: vec![bob.clone()],
        references: vec![vec![1; 32]],
        welcome: vec![9],
    };
    let change = |joining, leaving| GroupChange {
        joining,
        leaving,
        ..change(&convo, &alice)
    };
    let joined = store.change_group(&change(joining, None)).await.unwrap(); // 3: bob joined
    assert!(matches!(joined, ChangeOutcome::Done { .. }));
    store.append(message(&convo, &bob)).await.unwrap(); // 4
    let leaving = Leaving {
        user: bob.clone(),
        device: None,
        removed: true,
    };
    store
        .change_group(&change(Joining::default(), Some(leaving)))
        .await
        .unwrap(); // 5: bob removed
    store.append(message(&convo, &alice)).await.unwrap(); // 6

    let stays = async |did| store.memberships(did).await.unwrap();
    let stay = Membership {
        convo: convo.clone(),
        joined: Seq::new(3),
        left: Some(Seq::new(5)),
    };
    assert_eq!(stays(&bob).await, [stay]);
    assert_eq!(stays(&alice).await[0].left, None);
    let run = |after, through| Run {
        topic: Topic::Convo(convo.clone()),
        after: Seq::new(after),
        through: Seq::new(through),
    };
    let account = Topic::Account(bob.clone());
    let no_events = Run {
        topic: account,
        ..run(0, 6)
    };
    let runs = [run(2, 5), no_events, run(0, 2), run(5, 9)];
    let read = store.runs(&runs, 2).await.unwrap();
    let numbers =
        |run: &Vec<StoredEvent>| -> Vec<u64> { run.iter().map(|event| event.seq.get()).collect() };
    let read: Vec<_> = read.iter().map(numbers).collect();
    assert_eq!(read, [vec![3, 4], vec![], vec![1, 2], vec![6]]);
    assert_eq!(store.standing(&convo, &bob).await.unwrap(), None);
    let refused = store.append(message(&convo, &bob)).await;
    assert_eq!(refused, Err(AppendError::NotMember));
}

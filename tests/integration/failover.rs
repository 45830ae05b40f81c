//! Postgres fails over to a copy that lacks the last commits, and then to another one that never
//! heard of the first: phones read on, and no number is given twice.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use mls_relay::store::{ChangeOutcome, Store};
use mls_relay::types::{ConvoId, Did};
use mls_relay_loadtest::mls::Group;
use serde_json::Value;

use crate::database::Database;
use crate::event_stream::EventStream;
use crate::phone::{Phone, phones, together};
use crate::store_values::{commit, conversation, did, message};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn phones_read_on_through_failovers_to_copies_that_lack_the_last_commits() {
    let (mut world, [alice, bob], mut group) = together().await;
    let [carol, dave] = phones(&world).await;
    let mut reader = Reader::new(&bob, &group, world.live(&bob).await);
    reader.hears(sent(&alice, &mut group).await).await;
    for standby in ["first", "second"] {
        world.database.standby(standby);
    }
    for lost in 0..3 {
        reader.hears(sent(&alice, &mut group).await).await;
        assert_eq!(reader.last_seq, lost + 2);
    }

    for standby in ["first", "second"] {
        world.database.fail_over(standby).await;
        for _ in 0..3 {
            reader.hears(sent(&alice, &mut group).await).await;
        }
        // What no server knew begins as always.
        let mut next = carol.found(&[dave.did()]).await;
        assert_eq!(sent(&carol, &mut next).await.seq, 1);
    }
}

/// As where a pooler has led open sessions to a copy that was promoted.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_numbered_first_after_a_promotion_makes_the_leap_and_what_follows_does_not() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (convo, alice) = (ConvoId::of_group(&[1; 16]).unwrap(), did("alice"));
    let founding = conversation(&convo, &alice);
    let founded = store.create_conversation(&founding).await;
    assert!(matches!(founded, Ok(ChangeOutcome::Done { .. })));
    let last_seq = async || database.count("SELECT last_seq FROM conversations").await;
    let last_event = async || database.count("SELECT max(seq) FROM event_stream").await;
    for numbered in [Numbered::Alone, Numbered::Together, Numbered::Commit] {
        let (seq, event) = (last_seq().await, last_event().await);
        database
            .run("UPDATE stream_floor SET timeline = 'another'")
            .await;
        let count = numbered.append(&store, &convo, &alice).await;
        let (leapt_seq, leapt_event) = (last_seq().await, last_event().await);
        assert!(leapt_seq >= seq + 1_000_000, "{numbered:?}");
        assert!(leapt_event >= event + 1_000_000, "{numbered:?}");
        let again = numbered.append(&store, &convo, &alice).await;
        assert_eq!((count, again), (again, count));
        assert_eq!(last_seq().await, leapt_seq + again, "{numbered:?}");
        assert_eq!(last_event().await, leapt_event + again, "{numbered:?}");
    }
}

/// As where the last day was dropped by hand, or Postgres crashed with `synchronous_commit` off.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_has_lost_its_end_goes_on_above_all_that_was_given_out() {
    let (world, [alice, bob], mut group) = together().await;
    let mut reader = Reader::new(&bob, &group, world.live(&bob).await);
    reader.hears(sent(&alice, &mut group).await).await;
    world.database.run("DELETE FROM event_stream").await;
    reader.stream.next_named("#gap").await;
    for _ in 0..2 {
        reader.hears(sent(&alice, &mut group).await).await;
    }
}

/// What gives out numbers.
#[derive(Clone, Copy, Debug)]
enum Numbered {
    Alone,
    Together,
    Commit,
}

impl Numbered {
    /// How many it has given out.
    async fn append(self, store: &Store, convo: &ConvoId, caller: &Did) -> i64 {
        match self {
            Self::Alone => {
                store.append(message(convo, caller)).await.unwrap();
                1
            }
            Self::Together => {
                let sends = (0..20).map(|_| store.append(message(convo, caller)));
                let stored = try_join_all(sends).await.unwrap();
                i64::try_from(stored.len()).unwrap()
            }
            Self::Commit => {
                let standing = store.standing(convo, caller).await.unwrap().unwrap();
                let made_in = u8::try_from(standing.epoch.get()).unwrap();
                let commit = commit(convo, caller, standing.epoch, vec![made_in]);
                let outcome = store.change_group(&commit).await.unwrap();
                assert!(matches!(outcome, ChangeOutcome::Done { .. }));
                1
            }
        }
    }
}

/// A message that the relay has taken.
struct Sent {
    id: String,
    seq: u64,
}

/// Sends until it is taken: while Postgres is away, the same message again.
async fn sent(phone: &Phone, group: &mut Group) -> Sent {
    let message = phone.message(group, b"still here?");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = phone.post_request("sendMessage", &message);
        let (status, headers, answer) = phone.exchange(request).await;
        if status.is_success() {
            return Sent {
                id: answer["messageId"].as_str().unwrap().to_owned(),
                seq: answer["seq"].as_u64().unwrap(),
            };
        }
        assert!(headers.contains_key("retry-after"), "{status} {answer}");
        assert!(Instant::now() < deadline, "never taken: {status} {answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A phone that listens, and fetches what comes after the last number it has read.
struct Reader<'a> {
    phone: &'a Phone,
    convo: String,
    stream: EventStream,
    cursor: String,
    last_seq: u64,
}

impl<'a> Reader<'a> {
    fn new(phone: &'a Phone, group: &Group, stream: EventStream) -> Self {
        Self {
            phone,
            convo: group.id(),
            stream,
            cursor: String::new(),
            last_seq: 0,
        }
    }

    /// It hears of this message next, and nothing else comes with it.
    async fn hears(&mut self, sent: Sent) {
        let event = self.next_message().await;
        assert_eq!(event["messageId"], sent.id.as_str());
        let after = self.last_seq.to_string();
        let parameters = [("convoId", self.convo.as_str()), ("sinceSeq", &after)];
        let page = self.phone.get("getMessages", &parameters).await;
        let found = page["messages"].as_array().unwrap();
        let ids: Vec<_> = found.iter().map(|view| &view["id"]).collect();
        assert_eq!(ids, [sent.id.as_str()], "after {after}: {page}");
        assert!(sent.seq > self.last_seq);
        self.last_seq = sent.seq;
    }

    /// Of each event the cursor is above all before it.
    async fn next_message(&mut self) -> Value {
        let told = self.stream.next_named("#messageEvent").await;
        let cursor = told.body()["cursor"].as_str().unwrap();
        assert!(*self.cursor < *cursor, "after {}: {cursor}", self.cursor);
        cursor.clone_into(&mut self.cursor);
        told.body().clone()
    }
}

//! A send that comes alone is judged by plain statements and a batch by one large one: the
//! answers and what they leave behind must be the same, against a real Postgres.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mls_relay::store::Store;
use mls_relay::types::ConvoId;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio_postgres::{Client, Row};

use crate::database::Database;
use crate::store_values::{did, found};

/// One send, as Postgres is asked for it.
#[derive(Clone, Debug)]
struct Send {
    to_a_known_conversation: bool,
    by_a_member: bool,
    message: u8,
    epoch: i64,
    body: u8,
    nonce: Option<u8>,
    again: bool,
}

fn sends() -> impl Strategy<Value = Vec<Send>> {
    let send = (
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.8),
        0..3_u8,
        prop_oneof![4 => Just(0_i64), 1 => Just(1)],
        prop_oneof![4 => Just(0_u8), 1 => Just(1)],
        prop::option::weighted(0.7, 0..4_u8),
        any::<bool>(),
    );
    let send = send.prop_map(|(known, member, message, epoch, body, nonce, again)| Send {
        to_a_known_conversation: known,
        by_a_member: member,
        message,
        epoch,
        body,
        nonce,
        again,
    });
    prop::collection::vec(send, 1..12)
}

/// The parts of an answer that the relay reads.
#[derive(Debug, Eq, PartialEq)]
struct Judged {
    outcome: String,
    seq: Option<i64>,
    epoch: Option<i64>,
}

impl Judged {
    fn of(row: &Row) -> Self {
        let outcome: String = row.get("outcome");
        let landed = matches!(outcome.as_str(), "stored" | "repeated");
        let received: Option<DateTime<Utc>> = row.get("received_at");
        assert!(!landed || received.is_some());
        Self {
            seq: row.get::<_, Option<i64>>("seq").filter(|_| landed),
            epoch: row
                .get::<_, Option<i64>>("epoch")
                .filter(|_| landed || outcome == "epoch"),
            outcome,
        }
    }
}

/// Two conversations of one, of which one gets its sends alone and the other as batches.
struct Twins {
    client: Client,
    store: Store,
    founded: Cell<u128>,
}

const LONE: &str = "SELECT * FROM append_message($1, $2, $3, $4, $5, $6, $7, '1 day', $8)";
const BATCH: &str = "SELECT * FROM append_messages(ARRAY[$1], ARRAY[$2], ARRAY[$3], ARRAY[$4::bigint], \
     ARRAY[$5::bytea], ARRAY[$6::bytea], ARRAY[$7::timestamptz], '1 day', $8)";
const LATER: DateTime<Utc> = DateTime::from_timestamp(4_000_000_000, 0).unwrap();

impl Twins {
    async fn found(&self) -> ConvoId {
        self.founded.set(self.founded.get() + 1);
        let convo = ConvoId::of_group(&self.founded.get().to_be_bytes()).unwrap();
        found(&self.store, &convo, &did("alice")).await;
        convo
    }

    async fn send(&self, sql: &str, convo: &ConvoId, send: &Send) -> Judged {
        let convo = match send.to_a_known_conversation {
            true => convo.expose(),
            false => "ff",
        };
        let sender = match send.by_a_member {
            true => "did:plc:alice",
            false => "did:plc:mallory",
        };
        // The nonces of one twin are not those of the other.
        let nonce = send
            .nonce
            .map(|n| format!("{n} {sql} {}", self.founded.get()).into_bytes());
        let row = self
            .client
            .query_one(
                sql,
                &[
                    &convo,
                    &sender,
                    &format!("01ARZ3NDEKTSV4RRFFQ69G5FA{}", send.message),
                    &send.epoch,
                    &vec![send.body; 512],
                    &nonce,
                    &nonce.as_ref().map(|_| LATER),
                    &send.again,
                ],
            )
            .await;
        Judged::of(&row.unwrap())
    }

    /// The messages and events of a conversation, without its id and the places of events.
    async fn left(&self, convo: &ConvoId) -> Vec<String> {
        let sql = "SELECT (m.seq, m.msg_id, m.kind, m.epoch, m.ciphertext, m.padded_size)::text \
                   FROM messages m WHERE m.convo_id = $1 \
                   UNION ALL SELECT (c.last_seq, c.epoch)::text FROM conversations c \
                   WHERE c.convo_id = $1 \
                   UNION ALL SELECT * FROM (SELECT (e.kind, e.user_did, e.payload->>'messageId')::text \
                   FROM event_stream e WHERE e.convo_id = $1 ORDER BY e.seq) events";
        let rows = self.client.query(sql, &[&convo.expose()]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

#[test]
fn a_lone_send_and_a_batch_of_one_get_the_same_answer_and_leave_the_same_behind() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_database, twins) = runtime.block_on(async {
        let database = Database::start().await;
        let (store, _) = database.store().await;
        let client = database.client().await;
        let founded = Cell::new(0);
        (
            database,
            Twins {
                client,
                store,
                founded,
            },
        )
    });
    let outcomes = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    let done = runner.run(&sends(), |sends| {
        runtime.block_on(async {
            let (alone, together) = (twins.found().await, twins.found().await);
            for send in &sends {
                let lone = twins.send(LONE, &alone, send).await;
                let batch = twins.send(BATCH, &together, send).await;
                prop_assert_eq!(&lone, &batch, "{:?}", send);
                outcomes.borrow_mut().insert(lone.outcome);
            }
            prop_assert_eq!(twins.left(&alone).await, twins.left(&together).await);
            Ok(())
        })
    });
    done.unwrap();
    // All that can come of a send came up.
    let all = [
        "absent", "conflict", "epoch", "repeated", "replayed", "stored",
    ];
    assert_eq!(outcomes.into_inner().into_iter().collect::<Vec<_>>(), all);
}

/// Sends to one conversation that is there, and to one that is founded while the first is waited
/// for.
const BOTH: &str = "SELECT outcome FROM append_messages(
    ARRAY['ab01', 'ab02'], ARRAY['did:plc:alice', 'did:plc:alice'],
    ARRAY['01ARZ3NDEKTSV4RRFFQ69G5FA1', '01ARZ3NDEKTSV4RRFFQ69G5FA2'], ARRAY[0, 0]::bigint[],
    array_fill(decode(repeat('00', 512), 'hex'), ARRAY[2]), ARRAY[NULL, NULL]::bytea[],
    ARRAY[NULL, NULL]::timestamptz[], '1 day', false)";

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_numbers_no_message_in_what_is_founded_while_it_waits() {
    let database = Database::start().await;
    let (_store, _shutdown) = database.store().await;
    let client = database.client().await;
    let found = async |convo: &str| {
        let founding = format!(
            "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
                 VALUES ('{convo}', 'did:plc:alice', 1, 0);
             INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
                 VALUES ('{convo}', 'did:plc:alice', 0, 0)"
        );
        client.batch_execute(&founding).await.unwrap();
    };
    found("ab01").await;
    let mut holder = database.client().await;
    let held = holder.transaction().await.unwrap();
    let hold = "SELECT FROM conversations FOR UPDATE";
    assert_eq!(held.execute(hold, &[]).await.unwrap(), 1);
    let sender = database.client().await;
    let sending = tokio::spawn(async move { sender.query(BOTH, &[]).await });
    database.waiting(1).await;
    found("ab02").await;
    held.commit().await.unwrap();
    let answers = sending.await.unwrap().unwrap();
    let outcomes: Vec<&str> = answers.iter().map(|row| row.get("outcome")).collect();
    assert_eq!(outcomes, ["stored", "absent"]);
}

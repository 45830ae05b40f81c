//! What has ended leaves nothing behind: how far an account has read goes with its stay, and a
//! conversation that all have left goes but for its id.

use std::pin::pin;
use std::time::Duration;

use chrono::Utc;
use mls_relay::retention::Retention;
use mls_relay::runtime::Live;
use mls_relay::types::Did;
use mls_relay_loadtest::mls::CIPHER_SUITE_NAME;
use serde_json::json;
use tokio_postgres::Transaction;

use crate::database::Database;
use crate::phone::{Phone, people, phones};
use crate::retention::{first_run, seeded, without_pause};
use crate::world::{World, text};

/// What ends a stay of Bob's with Alice.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Account,
    Device,
    Leaving,
    Removal,
}

impl Ending {
    const ALL: [Self; 4] = [Self::Account, Self::Device, Self::Leaving, Self::Removal];

    async fn end(self, world: &World, alice: &Phone, bob: &Phone, convo: &str) {
        let (caller, call, input) = match self {
            Self::Account => {
                let did = Did::parse(bob.did()).unwrap();
                world.store.delete_account(&did, Utc::now()).await.unwrap();
                return;
            }
            Self::Device => {
                let device = json!({"deviceId": bob.device.device_id()});
                (bob, "deleteDevice", device)
            }
            Self::Leaving => (bob, "leaveConvo", json!({"convoId": convo})),
            Self::Removal => {
                let removal = json!({"convoId": convo, "targetDid": bob.did()});
                (alice, "removeMember", removal)
            }
        };
        caller.post(call, &input).await;
    }
}

/// Runs two calls at once: the second begins when the first waits for what is held, which is let
/// go when the second is done, or waits as well.
async fn overtaking<A, B>(
    database: &Database,
    held: Transaction<'_>,
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> (A, B) {
    let second = async {
        database.waiting(1).await;
        let mut second = pin!(second);
        let done = tokio::select! {
            done = &mut second => Some(done),
            () = database.waiting(2) => None,
        };
        held.rollback().await.unwrap();
        match done {
            Some(done) => done,
            None => second.await,
        }
    };
    tokio::join!(first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_one_has_read_ends_with_the_stay_whichever_comes_first() {
    let world = World::start().await;
    for ending in Ending::ALL {
        for is_said_first in [true, false] {
            let [alice, bob] = phones(&world).await;
            let convo = alice.found(&[bob.did()]).await.id();
            let says = json!({"convoId": convo, "cursor": "1"});
            let mut client = world.database.client().await;
            let held = client.transaction().await.unwrap();
            let end = ending.end(&world, &alice, &bob, &convo);
            if is_said_first {
                let hold =
                    "INSERT INTO read_cursors (user_did, convo_id, cursor) VALUES ($1, $2, '')";
                held.execute(hold, &[&bob.did(), &convo]).await.unwrap();
                let saying = bob.post("updateCursor", &says);
                overtaking(&world.database, held, saying, end).await;
            } else {
                let hold = "SELECT pg_advisory_xact_lock(hashtext('mls-relay.stream'))";
                held.execute(hold, &[]).await.unwrap();
                let saying = bob.post_refused("updateCursor", &says);
                let ((), refused) = overtaking(&world.database, held, end, saying).await;
                assert_eq!(refused.name, "ConvoNotFound", "{ending:?}");
            }
            let kept = "SELECT count(*) FROM read_cursors";
            let kept = world.database.count(kept).await;
            assert_eq!(kept, 0, "{ending:?}, said first: {is_said_first}");
        }
    }
}

/// Conversations by what tells of them. Each has what hangs on one, but the first.
const ENDED: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
        SELECT c, 'did:plc:a', 1, 0
        FROM unnest(ARRAY['a0', 'b0', 'c0', 'd0', 'e0']) AS c;
    INSERT INTO members (convo_id, user_did, joined_seq, left_seq, joined_message_seq, left_at)
        SELECT c.convo_id, 'did:plc:a', n, n + 1, 0, coarse_now() - '40 d'::interval
        FROM conversations c, generate_series(1, 5) n WHERE c.convo_id > 'a0';
    INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
        VALUES ('a0', 'did:plc:a', 1, 0);
    INSERT INTO ended_conversations (convo_id, ended_at)
        SELECT c.convo_id, coarse_now() - CASE WHEN c.convo_id = 'b0' THEN 30 ELSE 32 END * '1 d'::interval
        FROM conversations c WHERE c.convo_id > 'a0';
    INSERT INTO welcomes (convo_id, user_did, welcome, state, confirmed_at)
        SELECT e.convo_id, 'did:plc:a', '', 'confirmed', coarse_now() FROM ended_conversations e;
    INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category, encrypted_content,
                         message_ids)
        SELECT e.convo_id, e.convo_id, 'did:plc:a', 'did:plc:b', 'spam', '', '{}'
        FROM ended_conversations e;
    INSERT INTO block_conflicts (convo_id, blocker_did, blocked_did)
        SELECT e.convo_id, 'did:plc:a', 'did:plc:b' FROM ended_conversations e;
    INSERT INTO read_cursors (convo_id, user_did, cursor)
        SELECT e.convo_id, 'did:plc:a', '' FROM ended_conversations e;
    INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size,
                          received_at)
        VALUES ('c0', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 5, 'x', 1, 1, coarse_now());
    INSERT INTO event_stream (seq, emitted_at, convo_id, kind, payload)
        VALUES (1, coarse_now(), 'd0', 'conversationUpdated', '{}')";

/// What hangs on a conversation.
const HANGING: [&str; 5] = [
    "members",
    "welcomes",
    "reports",
    "block_conflicts",
    "read_cursors",
];

/// The conversations that have something in this table.
async fn named(database: &Database, table: &str) -> Vec<String> {
    let sql = format!("SELECT DISTINCT convo_id FROM {table} ORDER BY convo_id");
    database.all(&sql, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_all_have_left_goes_when_nothing_tells_of_it_any_more() {
    let (database, store, shutdown) = seeded(ENDED).await;
    let settings = Live::new(without_pause());
    first_run(&Retention::start(&store, &settings, &shutdown)).await;
    // Somebody is in the first, the second ended a day later; a message and an event are left of
    // the next two.
    let kept = ["a0", "b0", "c0", "d0"];
    assert_eq!(named(&database, "conversations").await, kept);
    assert_eq!(named(&database, "members").await, kept);
    for table in HANGING {
        assert!(!named(&database, table).await.contains(&"e0".to_owned()));
    }
    let forgotten = "SELECT count(*) FROM ended_conversations
        WHERE convo_id = 'e0' AND ended_at IS NULL";
    assert_eq!(database.count(forgotten).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_conversation_goes_in_bites_and_its_stays_last() {
    let (database, _store, _shutdown) = seeded(ENDED).await;
    let only = "UPDATE ended_conversations SET ended_at = NULL WHERE convo_id <> 'e0'";
    database.run(only).await;
    let forget = "SELECT forget_conversations('31 days', 2)";
    // Whoever founded one without stays would found it anew.
    for (gone, left) in [(4 + 2, 3), (2, 1), (1 + 1, 0), (0, 0)] {
        assert_eq!(database.count(forget).await, gone);
        for (table, left) in [("members", left), ("conversations", left.min(1))] {
            let there = format!("SELECT count(*) FROM {table} WHERE convo_id = 'e0'");
            assert_eq!(database.count(&there).await, left, "{table}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_holds_of_an_ended_conversation_is_passed_over() {
    let (database, _store, _shutdown) = seeded(ENDED).await;
    let (mut client, mut forgetting) = (database.client().await, database.client().await);
    let session = "SET lock_timeout = '5s'";
    forgetting.batch_execute(session).await.unwrap();
    let forget = "SELECT forget_conversations('31 days', 10)";
    let left = "SELECT count(*) FROM members WHERE convo_id = 'e0'";
    for table in [
        "conversations",
        "block_conflicts",
        "read_cursors",
        "welcomes",
    ] {
        let held = client.transaction().await.unwrap();
        let hold = format!("SELECT FROM {table} WHERE convo_id = 'e0' FOR UPDATE");
        assert_eq!(held.execute(&hold, &[]).await.unwrap(), 1);
        let undone = forgetting.transaction().await.unwrap();
        undone.query_one(forget, &[]).await.unwrap();
        let left = undone.query_one(left, &[]).await.unwrap();
        assert_eq!(left.get::<_, i64>(0), 5, "{table}");
        undone.rollback().await.unwrap();
        held.rollback().await.unwrap();
    }
    assert!(database.count(forget).await > 0);
    assert_eq!(database.count(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_an_ended_conversation_is_never_given_again() {
    let (world, [alice, bob]) = people().await;
    let (group, founding) = alice.founding(&[bob.did()]).await;
    alice.post("createConvo", &founding).await;
    bob.join(&group).await;
    let id = group.id();
    for phone in [&bob, &alice] {
        let leaving = json!({"convoId": id});
        phone.post("leaveConvo", &leaving).await;
    }
    let found = json!({"groupId": id, "cipherSuite": CIPHER_SUITE_NAME});
    let package = text(&bob.device.key_package().unwrap());
    let ask = json!({"convoId": id, "keyPackage": package});
    let is_over = async || {
        for (phone, input) in [(&alice, &founding), (&alice, &found), (&bob, &found)] {
            let refused = phone.post_refused("createConvo", input).await;
            assert_eq!(refused.name, "Conflict");
        }
        // Nobody is there who could answer.
        let refused = bob.post_refused("requestRejoin", &ask).await;
        assert_eq!(refused.name, "ConvoNotFound");
    };
    is_over().await;

    let later = "UPDATE ended_conversations SET ended_at = ended_at - '32 d'::interval;
        DELETE FROM event_stream; DELETE FROM messages";
    world.database.run(later).await;
    let forgetting = world.store.forgetting("days").await.unwrap().unwrap();
    let month = Duration::from_secs(31 * 24 * 60 * 60);
    assert!(forgetting.conversations(month).await.unwrap() > 0);
    for table in ["conversations"].iter().chain(&HANGING) {
        let none: [&str; 0] = [];
        assert_eq!(named(&world.database, table).await, none, "{table}");
    }
    is_over().await;
    assert_eq!(named(&world.database, "ended_conversations").await, [id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_all_have_left_keeps_no_group_info() {
    let world = World::start().await;
    for ends_by_deletion in [false, true] {
        let [alice] = phones(&world).await;
        let group = alice.found(&[]).await;
        let info = text(&group.group_info().unwrap());
        let kept = json!({"convoId": group.id(), "groupInfo": info, "epoch": 0});
        alice.post("updateGroupInfo", &kept).await;
        if ends_by_deletion {
            alice.delete(&alice).await;
        } else {
            alice.leave(&group).await;
        }
        let sql = "SELECT count(*) FROM conversations WHERE group_info IS NOT NULL";
        assert_eq!(world.database.count(sql).await, 0);
    }
}

//! Calls about the same blocks wait for locks in one order, and what is forgotten in bites waits
//! for none.

use mls_relay::store::ChangeOutcome;

use crate::database::Database;
use crate::owners::{found, joining, owner, publish, said};

#[tokio::test(flavor = "multi_thread")]
async fn who_keeps_blocks_and_who_forgets_an_accounts_do_not_wait_for_each_other() {
    let (database, store, _shutdown) = Database::with_store().await;
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| owner(name, 1));
    // They were learned of in another order than that of their accounts.
    for blocker in [&carol, &bob, &alice] {
        let learned = store.record_blocks(&[said(blocker, &bob, true)]).await;
        assert_eq!(learned, Ok(()));
    }
    let (there, gone) = (said(&alice, &bob, true), said(&carol, &bob, true));
    let [lifted, also] = [&alice, &carol].map(|blocker| said(blocker, &bob, false));
    let keeping = async { assert_eq!(store.record_blocks(&[there, gone]).await, Ok(())) };
    let lifting = async { assert_eq!(store.record_blocks(&[also, lifted]).await, Ok(())) };
    let first = "blocks WHERE blocker_did = 'did:plc:alice' AND blocked_did = $1";
    database
        .meeting(first, bob.user.expose(), keeping, lifting)
        .await;

    for blocker in [&carol, &bob, &alice] {
        let learned = store.record_blocks(&[said(blocker, &bob, true)]).await;
        assert_eq!(learned, Ok(()));
    }
    let all = [&alice, &carol].map(|blocker| said(blocker, &bob, true));
    let keeping = async { assert_eq!(store.record_blocks(&all).await, Ok(())) };
    let ending = async {
        let ended = store.delete_account(&bob.user, chrono::Utc::now()).await;
        assert!(ended.is_ok(), "{ended:?}");
    };
    database
        .meeting(first, bob.user.expose(), keeping, ending)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_told_of_a_block_and_who_forgets_it_do_not_wait_for_each_other() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (alice, bob) = (owner("alice", 1), owner("bob", 1));
    let conflicts = "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT 'ab0' || n, 'did:plc:alice', 1, 0 FROM generate_series(1, 2) n;
         INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
             SELECT c.convo_id, who, 0, 0
             FROM conversations c, unnest(ARRAY['did:plc:alice', 'did:plc:bob']) AS who;
         INSERT INTO block_conflicts (convo_id, blocker_did, blocked_did)
             VALUES ('ab02', 'did:plc:alice', 'did:plc:bob'),
                    ('ab01', 'did:plc:alice', 'did:plc:bob')";
    database.run(conflicts).await;
    let change = async |exists: bool| {
        let told = store.change_block(&alice.user, &bob.user, exists).await;
        assert_eq!(told.map(|convos| convos.len()), Ok(2));
    };
    let first = "block_conflicts WHERE convo_id = 'ab01' AND blocked_did = $1";
    let (made, lifted) = (change(true), change(false));
    database
        .meeting(first, bob.user.expose(), made, lifted)
        .await;

    let ending = async {
        let ended = store.delete_account(&bob.user, chrono::Utc::now()).await;
        assert!(ended.is_ok(), "{ended:?}");
    };
    let made = change(true);
    database
        .meeting(first, bob.user.expose(), made, ending)
        .await;
    let left = "SELECT count(*) FROM block_conflicts";
    assert_eq!(database.count(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_in_bites_waits_for_nobody() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (alice, bob) = (owner("alice", 1), owner("bob", 1));
    publish(&store, &bob, 1).await.unwrap();
    publish(&store, &bob, 2).await.unwrap();
    let founded = found(&store, &alice, false, 1, joining(&[&bob], &[1])).await;
    assert!(matches!(founded, Ok(ChangeOutcome::Done { .. })));
    let mut client = database.client().await;
    let old = "UPDATE welcomes SET created_at = '2020-01-01', epoch = -1;
        UPDATE key_packages SET expires_at = '2020-01-01';
        INSERT INTO key_package_claims VALUES ('\\x01', 1, '2020-01-01');
        INSERT INTO used_jti VALUES ('\\x01', '2020-01-01');
        INSERT INTO idempotency_keys (key, request_hash, expires_at)
            VALUES (sha256('a'), sha256('b'), '2020-01-01');
        INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category,
                             encrypted_content, message_ids, resolved_at)
            SELECT 'r', c.convo_id, 'did:plc:a', 'did:plc:b', 'spam', 'x', '{}', '2020-01-01'
            FROM conversations c";
    client.batch_execute(old).await.unwrap();
    let forgetting = database.client().await;
    let session = "SET lock_timeout = '5s'";
    forgetting.batch_execute(session).await.unwrap();
    for (table, forget) in [
        ("key_package_claims", "forget_claims(10)"),
        ("used_jti", "forget_jtis(10)"),
        ("idempotency_keys", "forget_idempotency_keys(10)"),
        ("key_packages", "forget_key_packages('1 hour', 10)"),
        ("welcomes", "forget_unconfirmed_welcomes('1 hour', 10)"),
        ("welcomes", "forget_old_welcomes('1 hour', 10)"),
        ("reports", "forget_reports('1 hour', 10)"),
    ] {
        let forget = format!("SELECT {forget}");
        let held = client.transaction().await.unwrap();
        let hold = format!("SELECT FROM {table} FOR UPDATE");
        assert!(held.execute(&hold, &[]).await.unwrap() > 0, "{table}");
        let gone = forgetting.query_one(&forget, &[]).await;
        assert_eq!(gone.unwrap().get::<_, i64>(0), 0, "{forget}");
        held.rollback().await.unwrap();
        let check = forgetting.batch_execute("BEGIN").await;
        check.unwrap();
        let gone = forgetting.query_one(&forget, &[]).await.unwrap();
        assert!(gone.get::<_, i64>(0) > 0, "{forget}");
        forgetting.batch_execute("ROLLBACK").await.unwrap();
    }
}

//! A large database: what is to go is found among all that stays, and a bite costs what it
//! takes.

use std::time::Duration;

use mls_relay::store::ReportOutcome;

use crate::scale::{LOOKED_AT, costs, seeded};
use crate::store_values::did;
use crate::world::bytes;

#[tokio::test(flavor = "multi_thread")]
async fn each_bite_of_accounts_looks_at_its_own_packages_for_what_is_over_the_bound() {
    // Three bites of accounts: each has twenty packages, of which two have expired.
    let database = seeded(
        "INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                                   last_resort, expires_at)
             SELECT 'did:plc:a' || n % 450, 'd', 1, decode(repeat('00', 1800), 'hex'),
                    sha256(convert_to(n || '', 'UTF8')), sha256(convert_to(n || '', 'UTF8')), false,
                    now() + CASE WHEN n <= 900 THEN -1 ELSE 1 END * '1 day'::interval
             FROM generate_series(1, 9000) n",
    )
    .await;
    costs(&database, LOOKED_AT, 35_000, async |store| {
        let forgetting = store.forgetting("key_packages").await.unwrap().unwrap();
        let expired = forgetting.key_packages(Duration::from_secs(3600));
        assert_eq!(expired.await.unwrap(), 900);
        let surplus = forgetting.surplus_key_packages(17);
        assert_eq!(surplus.await.unwrap(), 450);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_that_leads_nowhere_is_found_among_the_old_ones() {
    let database = seeded(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT lpad(to_hex(n), 6, '0'), 'did:plc:bob', 1, 2 FROM generate_series(1, 20000) n;
         INSERT INTO welcomes (convo_id, user_did, welcome, epoch, created_at)
             SELECT c.convo_id, 'did:plc:alice', 'x', 1,
                    coarse_now() - CASE WHEN right(c.convo_id, 2) = '00' THEN 31 ELSE 29 END
                        * '1 day'::interval
             FROM conversations c;
         INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                               padded_size, received_at)
             SELECT c.convo_id, 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 2, 'x', 1, 1, coarse_now()
             FROM conversations c WHERE right(c.convo_id, 4) <> '0000'",
    )
    .await;
    costs(&database, LOOKED_AT, 1000, async |store| {
        let forgetting = store.forgetting("days").await.unwrap().unwrap();
        let gone = forgetting.unconfirmed_welcomes(Duration::from_secs(30 * 24 * 60 * 60));
        assert_eq!(gone.await, Ok(0));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_go_are_found_among_those_that_stay_and_so_are_a_members_open_ones() {
    let database = seeded(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             VALUES ('ab', 'did:plc:bob', 1, 0);
         INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
             SELECT 'ab', who, 0, 0 FROM unnest(ARRAY['did:plc:alice', 'did:plc:bob']) AS who;
         INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category,
                              encrypted_content, message_ids, status, resolved_at)
             SELECT n, 'ab', 'did:plc:carol', 'did:plc:bob', 'spam', 'x', '{}',
                    CASE WHEN n % 2 = 0 THEN 'resolved' ELSE 'pending' END,
                    CASE WHEN n % 2 = 0 THEN coarse_now() - n / 1000 * '5 days'::interval END
             FROM generate_series(1, 20000) n",
    )
    .await;
    let report = serde_json::json!({
        "convoId": "ab",
        "reportedDid": did("bob"),
        "category": "spam",
        "encryptedContent": bytes(b"x"),
    });
    let report = serde_json::from_value(report).unwrap();
    costs(&database, LOOKED_AT, 4000, async |store| {
        let kept = store.add_report("new", &did("alice"), &report, 1).await;
        assert!(matches!(kept, Ok(ReportOutcome::Kept(_))), "{kept:?}");
        let more = store.add_report("more", &did("alice"), &report, 1).await;
        assert_eq!(more, Ok(ReportOutcome::TooMany));
        let forgetting = store.forgetting("days").await.unwrap().unwrap();
        let gone = forgetting.reports(Duration::from_secs(92 * 24 * 60 * 60));
        assert_eq!(gone.await, Ok(501));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_found_among_all_that_goes_on_and_all_that_is_forgotten() {
    let database = seeded(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT lpad(to_hex(n), 6, '0'), 'did:plc:bob', 1, 2 FROM generate_series(1, 20000) n;
         INSERT INTO members (convo_id, user_did, joined_seq, left_seq, joined_message_seq)
             SELECT c.convo_id, 'did:plc:alice', 1,
                    CASE WHEN right(c.convo_id, 2) = '00' THEN 2 END, 0
             FROM conversations c;
         INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                               padded_size, received_at)
             SELECT c.convo_id, 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 2, 'x', 1, 1, coarse_now()
             FROM conversations c WHERE right(c.convo_id, 2) <> '00';
         INSERT INTO event_stream (seq, emitted_at, convo_id, kind, payload)
             SELECT row_number() OVER (), coarse_now(), c.convo_id, 'conversationUpdated', '{}'
             FROM conversations c WHERE right(c.convo_id, 2) <> '00';
         INSERT INTO ended_conversations (convo_id, ended_at)
             SELECT c.convo_id, coarse_now() - '32 days'::interval
             FROM conversations c WHERE right(c.convo_id, 2) = '00'
             UNION ALL SELECT 'ff' || lpad(to_hex(n), 6, '0'), NULL FROM generate_series(1, 20000) n",
    )
    .await;
    costs(&database, LOOKED_AT, 3000, async |store| {
        let forgetting = store.forgetting("days").await.unwrap().unwrap();
        let gone = forgetting.conversations(Duration::from_secs(31 * 24 * 60 * 60));
        assert_eq!(gone.await, Ok(78 * 2));
    })
    .await;
}

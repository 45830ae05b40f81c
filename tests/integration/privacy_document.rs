//! `docs/privacy.md` names every stored column, and no other.

use std::collections::BTreeSet;
use std::time::Duration;

use mls_relay::store::{Claim, Reservation, SharedStay};
use mls_relay::types::{CipherSuite, Did};

use crate::database::Database;

/// `table.column` of every row of the document's tables.
fn documented() -> BTreeSet<String> {
    let text = include_str!("../../docs/privacy.md");
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            table = heading.split(' ').next().unwrap();
        } else if let Some(row) = line.strip_prefix("| `") {
            let columns = row.split(" |").next().unwrap();
            found.extend(
                columns
                    .split(", ")
                    .map(|c| format!("{table}.{}", c.trim_matches('`'))),
            );
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_privacy_document_names_every_stored_column() {
    let (database, _store, _shutdown) = Database::with_store().await;
    let stored = "SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a \
                  ON a.attrelid = c.oid WHERE c.relnamespace = 'public'::regnamespace \
                  AND c.relkind IN ('r', 'p') AND NOT c.relispartition \
                  AND a.attnum > 0 AND NOT a.attisdropped";
    let stored: Vec<String> = database.all(stored, &[]).await;
    let stored = BTreeSet::from_iter(stored);
    assert!(stored.contains("messages.sender_did"));
    let missing: Vec<_> = stored.difference(&documented()).cloned().collect();
    assert!(missing.is_empty(), "not in docs/privacy.md: {missing:?}");
    let invented: Vec<_> = documented().difference(&stored).cloned().collect();
    assert!(invented.is_empty(), "only in docs/privacy.md: {invented:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_a_fine_time_and_a_true_size_cannot_be_stored() {
    let (database, _store, _shutdown) = Database::with_store().await;
    let client = database.client().await;
    let insert = |sender: &str, size: u32, declared: u32, at: &str| {
        format!(
            "INSERT INTO messages VALUES ('ab', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'app', 0, \
             decode(repeat('00', {size}), 'hex'), {declared}, {size}, {at}, {sender})"
        )
    };
    let coarse = "date_bin('2 seconds', now(), 'epoch')";
    let fine = "date_bin('2 seconds', now(), 'epoch') + '1 s'::interval";
    for (statement, why) in [
        (insert("'did:plc:a'", 512, 512, coarse), "a sender"),
        (insert("NULL", 513, 513, coarse), "a size between buckets"),
        (insert("NULL", 512, 100, coarse), "a true size"),
        (insert("NULL", 512, 512, fine), "a fine time"),
    ] {
        let refused = client.batch_execute(&statement).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "23514", "{why} was stored");
    }
    client
        .batch_execute(&insert("NULL", 512, 512, coarse))
        .await
        .unwrap();
    let event = |payload: &str| {
        format!("INSERT INTO event_stream VALUES (1, {coarse}, 'ab', NULL, 'message', '{payload}')")
    };
    let exact = r#"{"cursor":"01ARZ3NDEKTSV4RRFFQ69G5FAV","convoId":"ab","messageId":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}"#;
    let more = exact.replace("}", r#","did":"did:plc:a"}"#);
    let refused = client.batch_execute(&event(&more)).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23514");
    client.batch_execute(&event(exact)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_for_a_while_has_no_fine_time_either() {
    let (database, store, _shutdown) = Database::with_store().await;
    let (hour, key) = (Duration::from_secs(3600), [7; 32]);
    let stay = SharedStay {
        subject: [7; 16],
        level: 1,
        until: 0,
    };
    store.exchange_penalties(&[stay], hour).await.unwrap();
    store.take_acme_turn("a directory", hour).await.unwrap();
    let jittered = Duration::from_millis(61_370);
    let failed = store.fail_acme_turn("a directory", jittered);
    failed.await.unwrap();
    let challenge = store.put_acme_challenge("relay.example", &key, hour);
    challenge.await.unwrap();
    let claim = Claim {
        users: vec![Did::parse("did:plc:bob").unwrap()],
        suite: CipherSuite::X25519Aes128Ed25519,
        keys: vec![key],
        claims_max: 1,
        window: hour,
        low: 0,
        devices_max: 32,
        bytes_max: 1 << 20,
    };
    store.claim_key_packages(&claim).await.unwrap();
    let Reservation::Run(lease) = store.reserve(&key, &key, hour).await.unwrap() else {
        panic!("nobody else is at it");
    };
    let times = [
        ("penalties", "changed_at"),
        ("acme", "turn_until"),
        ("acme_challenges", "expires_at"),
        ("key_package_claims", "expires_at"),
        ("idempotency_keys", "expires_at"),
    ];
    let all_coarse = async || {
        for (table, column) in times {
            let coarse =
                format!("SELECT {column} = date_bin('2 seconds', {column}, 'epoch') FROM {table}");
            let coarse: Vec<bool> = database.all(&coarse, &[]).await;
            assert_eq!(coarse, [true], "{table}.{column}");
        }
    };
    all_coarse().await;
    store
        .keep_answer(&key, lease, b"an answer", hour)
        .await
        .unwrap();
    store.exchange_penalties(&[stay], hour).await.unwrap();
    store.fail_acme_turn("a directory", hour).await.unwrap();
    all_coarse().await;
}

//! What the relay keeps, it forgets on time; and nothing before.

use std::time::Duration;

use mls_relay::retention::{Retention, Settings};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::store::Store;
use mls_relay::types::Seq;

use crate::database::Database;
use crate::relay::eventually;

/// A database with these rows in it, and a store on it.
pub(crate) async fn seeded(rows: &str) -> (Database, Store, Shutdown) {
    let seeded = Database::with_store().await;
    seeded.0.run(rows).await;
    seeded
}

pub(crate) const MESSAGES: &str = "SELECT count(*) FROM messages";
pub(crate) const EVENTS: &str = "SELECT count(*) FROM event_stream";
/// Whether the day of `OLD_DAYS` that is to go has files, and whether it belongs to the table.
/// Not how many days there are: at midnight it is one more.
pub(crate) const OLD_DAY: &str = "SELECT count(*) FROM pg_class WHERE relkind = 'r'
    AND relname BETWEEN 'event_stream_0' AND 'event_stream_' || to_char(now() - '5 d'::interval, 'YYYYMMDD')";
pub(crate) const ATTACHED: &str = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relispartition
    AND relname BETWEEN 'event_stream_0' AND 'event_stream_' || to_char(now() - '5 d'::interval, 'YYYYMMDD')";

/// No test waits between two steps, but the one that is about it.
pub(crate) fn without_pause() -> Settings {
    Settings {
        pause: Duration::ZERO,
        ..Settings::default()
    }
}

/// Waits until every task has run once.
pub(crate) async fn first_run(retention: &Retention) {
    eventually("each task has run", async || has_run(retention)).await;
    assert!(retention.status().failing().is_empty());
}

pub(crate) fn has_run(retention: &Retention) -> bool {
    let status = retention.status();
    let tasks = [status.days, status.key_packages, status.nonces];
    tasks.iter().all(|task| task.runs > 0)
}

/// As a relay leaves them that has run all the time.
pub(crate) const OLD_DAYS: &str = "
    SELECT ensure_partition('messages', (now() - '40 days'::interval)::date);
    SELECT ensure_partition('messages', (now() - '1 day'::interval * n)::date)
        FROM generate_series(2, 20) n;
    SELECT ensure_partition('event_stream', (now() - '9 days'::interval)::date);
    SELECT ensure_partition('event_stream', (now() - '3 days'::interval)::date);
    INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size, received_at)
        SELECT 'ab', n, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'app', 0, decode(repeat('00', 512), 'hex'), 512, 512,
               date_bin('2 seconds', now() - (60 - 20 * n) * '1 day'::interval, 'epoch')
        FROM generate_series(1, 3) n;
    INSERT INTO event_stream (seq, emitted_at, convo_id, kind, payload)
        SELECT 10 * n, date_bin('2 seconds', now() - (15 - 6 * n) * '1 day'::interval, 'epoch'), 'ab',
               'conversationUpdated', '{\"cursor\":\"00000000000000000000000001\"}'
        FROM generate_series(1, 2) n;
    INSERT INTO used_jti VALUES ('old', now() - '3 s'::interval), ('new', now() + '1 h'::interval);
    INSERT INTO idempotency_keys (key, request_hash, expires_at)
    VALUES (sha256('old'), sha256('a'), coarse_now() - '2 s'::interval),
           (sha256('new'), sha256('a'), coarse_now() + '1 h'::interval);
    INSERT INTO key_package_claims (key, claims, expires_at)
    VALUES (sha256('old'), 3, coarse_now() - '2 s'::interval),
           (sha256('of a clock that ran ahead'), 3, coarse_now() + '9 d'::interval),
           (sha256('new'), 3, coarse_now() + '7 d'::interval);
    INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference, last_resort,
                              expires_at, claimed_at, consumed_at)
    VALUES ('did:plc:a', 'd', 1, 'x', 'expired', 'r1', false, now() - '1 s'::interval, NULL, NULL),
           ('did:plc:a', 'd', 1, 'x', 'consumed', 'r2', false, now() + '1 d'::interval, now(), now() - '25 h'::interval),
           ('did:plc:a', 'd', 1, 'x', 'lately', 'r3', false, now() + '1 d'::interval, now(), now() - '23 h'::interval),
           ('did:plc:a', 'd', 1, 'x', 'resort', 'r4', true, now() + '1 d'::interval, NULL, NULL),
           ('did:plc:a', 'd', 1, 'x', 'oldest', 'r5', false, now() + '1 d'::interval, NULL, NULL),
           ('did:plc:a', 'd', 1, 'x', 'older', 'r6', false, now() + '1 d'::interval, NULL, NULL),
           ('did:plc:a', 'd', 1, 'x', 'newest', 'r7', false, now() + '1 d'::interval, NULL, NULL);";

pub(crate) const OLD_WELCOMES: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch) VALUES ('cd', 'did:plc:a', 1, 5);
    INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size, received_at)
    VALUES ('cd', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'commit', 5, 'x', 1, 1, coarse_now());
    INSERT INTO welcomes (convo_id, user_did, welcome, state, epoch, created_at, confirmed_at)
    VALUES ('cd', 'did:plc:a', 'never fetched', 'waiting', 3, now() - '31 d'::interval, NULL),
           ('cd', 'did:plc:b', 'never confirmed', 'fetched', 3, now() - '31 d'::interval, NULL),
           ('cd', 'did:plc:c', 'confirmed long ago', 'confirmed', 3, now() - '29 d'::interval, now() - '8 d'::interval),
           ('cd', 'did:plc:d', 'confirmed lately', 'confirmed', 3, now() - '31 d'::interval, now() - '6 d'::interval),
           ('cd', 'did:plc:e', 'next commit kept', 'waiting', 4, now() - '31 d'::interval, NULL),
           ('cd', 'did:plc:f', 'no commit since', 'waiting', 5, now() - '31 d'::interval, NULL),
           ('cd', 'did:plc:g', 'young', 'waiting', 3, now() - '29 d'::interval, NULL),
           ('cd', 'did:plc:h', 'no commit ever', 'waiting', 5, now() - '38 d'::interval, NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_goes_and_nothing_else() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let settings = Settings {
        key_packages_per_device_max: 2,
        ..without_pause()
    };
    first_run(&Retention::start(&store, &Live::new(settings), &shutdown)).await;

    assert_eq!(database.count(MESSAGES).await, 2);
    assert_eq!(database.count("SELECT min(seq) FROM messages").await, 2);
    let first = "SELECT min(seq) FROM event_stream";
    assert_eq!(database.count(first).await, 20);
    let forgotten = "SELECT forgotten FROM stream_floor";
    assert_eq!(database.count(forgotten).await, 10);
    assert_eq!(store.ends().await.unwrap().floor, Seq::new(19));
    assert_eq!(store.ends().await.unwrap().head, Seq::new(20));
    for (table, key) in [
        ("used_jti", "key = 'new'"),
        ("idempotency_keys", "key = sha256('new')"),
        ("key_package_claims", "key = sha256('new')"),
    ] {
        let kept = format!("SELECT count(*) FROM {table}");
        assert_eq!(database.count(&kept).await, 1, "{table}");
        let kept = format!("{kept} WHERE {key}");
        assert_eq!(database.count(&kept).await, 1, "{table}");
    }
    let kept = "SELECT convert_from(hash, 'UTF8') FROM key_packages ORDER BY id";
    let kept: Vec<String> = database.all(kept, &[]).await;
    assert_eq!(kept, ["lately", "resort", "older", "newest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_begins_at_midnight_utc_wherever_the_session_is_that_makes_its_table() {
    let (database, _store, _shutdown) = seeded("").await;
    let client = database.client().await;
    let elsewhere = "SET timezone = 'Asia/Kolkata'; \
        SELECT ensure_partition('messages', '2020-01-01'); SET timezone = 'UTC'";
    client.batch_execute(elsewhere).await.unwrap();
    let day =
        "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'messages_20200101'";
    let day: String = client.query_one(day, &[]).await.unwrap().get(0);
    let midnights = "('01/01/2020 00:00:00 UTC') TO ('02/01/2020 00:00:00 UTC')";
    assert_eq!(day, format!("FOR VALUES FROM {midnights}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_kept_as_long_as_it_leads_somewhere_and_not_for_ever() {
    let (database, store, shutdown) = seeded(OLD_WELCOMES).await;
    let settings = Live::new(without_pause());
    first_run(&Retention::start(&store, &settings, &shutdown)).await;

    let kept = "SELECT convert_from(welcome, 'UTF8') FROM welcomes ORDER BY id";
    let kept: Vec<String> = database.all(kept, &[]).await;
    let useful = ["next commit kept", "no commit since", "young"];
    assert_eq!(kept, [&["confirmed lately"], &useful[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_goes_some_time_after_it_was_dealt_with_and_not_before() {
    let (database, store, shutdown) = seeded(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             VALUES ('ab', 'did:plc:a', 1, 0);
         INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category,
                              encrypted_content, message_ids, status, created_at, resolved_at)
             SELECT id, 'ab', 'did:plc:a', 'did:plc:b', 'spam', 'x', '{}', status,
                    coarse_now() - '90 days'::interval, coarse_now() - ended
             FROM (VALUES ('old', 'resolved', '31 days'::interval), ('young', 'resolved', '29 days'),
                          ('dismissed', 'dismissed', '31 days'), ('open', 'pending', NULL))
                 AS r (id, status, ended)",
    )
    .await;
    let settings = Live::new(without_pause());
    first_run(&Retention::start(&store, &settings, &shutdown)).await;
    let kept = "SELECT report_id FROM reports ORDER BY report_id";
    let kept: Vec<String> = database.all(kept, &[]).await;
    assert_eq!(kept, ["open", "young"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_goes_on_where_it_was_when_all_of_it_is_forgotten() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let settings = Settings {
        event_ttl_days: 1,
        ..without_pause()
    };
    first_run(&Retention::start(&store, &Live::new(settings), &shutdown)).await;
    assert_eq!(database.count(EVENTS).await, 0);
    assert_eq!(store.ends().await.unwrap().head, Seq::new(20));
    assert_eq!(store.ends().await.unwrap().floor, Seq::new(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_counts_without_a_restart_and_before_the_next_hour() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let settings = Live::new(without_pause());
    first_run(&Retention::start(&store, &settings, &shutdown)).await;
    assert_eq!(database.count(MESSAGES).await, 2);
    settings.replace(Settings {
        message_ttl_days: 10,
        ..without_pause()
    });
    database.until("the new lifetime counts", MESSAGES, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_in_steps_and_one_that_was_cut_off_is_finished_by_the_next_run() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let patient = Settings {
        pause: Duration::from_secs(600),
        ..Settings::default()
    };
    assert_eq!(database.count(ATTACHED).await, 1);
    let cut_off = Shutdown::default();
    let retention = Retention::start(&store, &Live::new(patient), &cut_off);
    database.until("the day is taken out", ATTACHED, 0).await;
    assert_eq!(retention.status().days.runs, 0, "it pauses");
    assert_eq!(database.count(OLD_DAY).await, 1, "it is not dropped yet");
    assert_eq!(database.count(EVENTS).await, 1);
    cut_off.drain(Duration::ZERO).await;

    // The next run comes when Postgres has noticed that nobody is at it any more.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    database.until("the lock is free", locks, 0).await;
    let retention = Retention::start(&store, &Live::new(without_pause()), &shutdown);
    database.until("the day is finished", OLD_DAY, 0).await;
    assert!(retention.status().failing().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_pause_counts_in_the_middle_of_one() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let settings = Live::new(Settings {
        pause: Duration::from_secs(600),
        ..Settings::default()
    });
    let retention = Retention::start(&store, &settings, &shutdown);
    database.until("the day is taken out", ATTACHED, 0).await;
    settings.replace(without_pause());
    first_run(&retention).await;
    assert_eq!(database.count(MESSAGES).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_another_node_is_at_is_left_to_it() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let held = store.forgetting("days").await.unwrap();
    assert!(held.is_some());
    assert!(store.forgetting("days").await.unwrap().is_none());
    assert!(store.forgetting("nonces").await.unwrap().is_some());
    drop(held);
    eventually("the lock goes with its holder", async || {
        store.forgetting("days").await.unwrap().is_some()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_shows_and_recovers() {
    let mut database = Database::start().await;
    let (store, shutdown) = database.store().await;
    database.down("immediate");
    let retention = Retention::start(&store, &Live::new(Settings::default()), &shutdown);
    let failures = || retention.status().nonces.failures_in_a_row;
    eventually("the failure shows", async || failures() > 0).await;
    database.up().await;
    eventually("the task recovers", async || failures() == 0).await;
}

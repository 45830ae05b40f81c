//! What the relay keeps, it forgets on time; and nothing before.

use std::time::{Duration, Instant};

use mls_relay::retention::{Retention, Settings};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::store::{self, DatabaseUrl, Store};
use mls_relay::types::Seq;

use crate::database::Database;

pub(crate) async fn open(database: &Database, shutdown: &Shutdown) -> Store {
    let settings = store::Settings::for_database(DatabaseUrl::parse(&database.url()).unwrap());
    Store::open(settings, shutdown).await.unwrap()
}

pub(crate) async fn count(client: &tokio_postgres::Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// No test waits between two steps, but the one that is about it.
pub(crate) fn without_pause() -> Settings {
    Settings {
        pause: Duration::ZERO,
        ..Settings::default()
    }
}

/// Waits until every task has run once.
pub(crate) async fn first_run(retention: &Retention) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let status = retention.status();
        if [status.days, status.key_packages, status.nonces]
            .iter()
            .all(|task| task.runs > 0)
        {
            assert!(status.failing().is_empty());
            return;
        }
        assert!(Instant::now() < deadline, "retention did not run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
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
    INSERT INTO used_jti VALUES ('old', now() - '1 s'::interval), ('new', now() + '1 h'::interval);
    INSERT INTO idempotency_keys (key, request_hash, expires_at)
    VALUES (sha256('old'), sha256('a'), coarse_now() - '2 s'::interval),
           (sha256('new'), sha256('a'), coarse_now() + '1 h'::interval);
    INSERT INTO key_package_claims (key, claims, expires_at)
    VALUES (sha256('old'), 3, coarse_now() - '2 s'::interval),
           (sha256('new'), 3, coarse_now() + '1 h'::interval);
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
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_DAYS).await.unwrap();
    let settings = Settings {
        key_packages_per_device_max: 2,
        ..without_pause()
    };
    first_run(&Retention::start(&store, &Live::new(settings), &shutdown)).await;

    assert_eq!(count(&client, "SELECT count(*) FROM messages").await, 2);
    assert_eq!(count(&client, "SELECT min(seq) FROM messages").await, 2);
    assert_eq!(
        count(&client, "SELECT min(seq) FROM event_stream").await,
        20
    );
    assert_eq!(store.ends().await.unwrap().floor, Seq::new(10));
    assert_eq!(store.ends().await.unwrap().head, Seq::new(20));
    for (table, key) in [
        ("used_jti", "key = 'new'"),
        ("idempotency_keys", "key = sha256('new')"),
        ("key_package_claims", "key = sha256('new')"),
    ] {
        let kept = format!("SELECT count(*) FROM {table}");
        assert_eq!(count(&client, &kept).await, 1, "{table}");
        let kept = format!("{kept} WHERE {key}");
        assert_eq!(count(&client, &kept).await, 1, "{table}");
    }
    let kept = client
        .query(
            "SELECT convert_from(hash, 'UTF8') FROM key_packages ORDER BY id",
            &[],
        )
        .await
        .unwrap();
    let kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
    assert_eq!(kept, ["lately", "resort", "older", "newest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_welcome_is_kept_as_long_as_it_leads_somewhere_and_not_for_ever() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_WELCOMES).await.unwrap();
    first_run(&Retention::start(
        &store,
        &Live::new(without_pause()),
        &shutdown,
    ))
    .await;

    let kept = client
        .query(
            "SELECT convert_from(welcome, 'UTF8') FROM welcomes ORDER BY id",
            &[],
        )
        .await
        .unwrap();
    let kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
    let useful = ["next commit kept", "no commit since", "young"];
    assert_eq!(kept, [&["confirmed lately"], &useful[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_goes_on_where_it_was_when_all_of_it_is_forgotten() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_DAYS).await.unwrap();
    let settings = Settings {
        event_ttl_days: 1,
        ..without_pause()
    };
    first_run(&Retention::start(&store, &Live::new(settings), &shutdown)).await;
    assert_eq!(count(&client, "SELECT count(*) FROM event_stream").await, 0);
    assert_eq!(store.ends().await.unwrap().head, Seq::new(20));
    assert_eq!(store.ends().await.unwrap().floor, Seq::new(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_setting_counts_without_a_restart_and_before_the_next_hour() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_DAYS).await.unwrap();
    let settings = Live::new(without_pause());
    first_run(&Retention::start(&store, &settings, &shutdown)).await;
    assert_eq!(count(&client, "SELECT count(*) FROM messages").await, 2);
    settings.replace(Settings {
        message_ttl_days: 10,
        ..without_pause()
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(&client, "SELECT count(*) FROM messages").await > 1 {
        assert!(Instant::now() < deadline, "the new lifetime does not count");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_goes_in_steps_and_one_that_was_cut_off_is_finished_by_the_next_run() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_DAYS).await.unwrap();
    let patient = Settings {
        pause: Duration::from_secs(600),
        ..Settings::default()
    };
    let days = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^event_stream_'";
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_stream'::regclass";
    let before = count(&client, days).await;
    assert_eq!(count(&client, attached).await, before);
    let cut_off = Shutdown::default();
    let retention = Retention::start(&store, &Live::new(patient), &cut_off);
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(&client, attached).await == before {
        assert!(Instant::now() < deadline, "the day was not taken out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(retention.status().days.runs, 0, "it pauses");
    assert_eq!(
        count(&client, days).await,
        before,
        "the day is not dropped yet"
    );
    assert_eq!(count(&client, "SELECT count(*) FROM event_stream").await, 1);
    cut_off.drain(Duration::ZERO).await;

    let deadline = Instant::now() + Duration::from_secs(30);
    // The next run comes when Postgres has noticed that nobody is at it any more.
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    while count(&client, locks).await > 0 {
        assert!(Instant::now() < deadline, "the lock is held for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let retention = Retention::start(&store, &Live::new(without_pause()), &shutdown);
    while count(&client, days).await == before {
        assert!(Instant::now() < deadline, "nobody finished the day");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(retention.status().failing().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_pause_counts_in_the_middle_of_one() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let client = database.client().await;
    client.batch_execute(OLD_DAYS).await.unwrap();
    let settings = Live::new(Settings {
        pause: Duration::from_secs(600),
        ..Settings::default()
    });
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_stream'::regclass";
    let before = count(&client, attached).await;
    let retention = Retention::start(&store, &settings, &shutdown);
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(&client, attached).await == before {
        assert!(Instant::now() < deadline, "the day was not taken out");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    settings.replace(without_pause());
    first_run(&retention).await;
    assert_eq!(count(&client, "SELECT count(*) FROM messages").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_another_node_is_at_is_left_to_it() {
    let database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    let held = store.forgetting("days").await.unwrap();
    assert!(held.is_some());
    assert!(store.forgetting("days").await.unwrap().is_none());
    assert!(store.forgetting("nonces").await.unwrap().is_some());
    drop(held);
    let deadline = Instant::now() + Duration::from_secs(10);
    while store.forgetting("days").await.unwrap().is_none() {
        assert!(Instant::now() < deadline, "the lock outlived its holder");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_shows_and_recovers() {
    let mut database = Database::start().await;
    let shutdown = Shutdown::default();
    let store = open(&database, &shutdown).await;
    database.down("immediate");
    let retention = Retention::start(&store, &Live::new(Settings::default()), &shutdown);
    let deadline = Instant::now() + Duration::from_secs(60);
    while retention.status().nonces.failures_in_a_row == 0 {
        assert!(Instant::now() < deadline, "the failure does not show");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    database.up().await;
    while retention.status().nonces.failures_in_a_row > 0 {
        assert!(Instant::now() < deadline, "the task did not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

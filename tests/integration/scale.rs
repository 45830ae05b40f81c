//! A large database: what a call looks at grows with what it answers, not with all there is.

use std::time::Duration;

use mls_relay::store::{DeletedDevice, Run, Store, Topic};
use mls_relay::types::{ConvoId, DeviceId, MessageId, Seq};

use crate::database::Database;
use crate::store_values::did;

/// A database with the relay's tables and these rows, of which Postgres knows how many they are.
pub(crate) async fn seeded(rows: &str) -> Database {
    let database = Database::start().await;
    let (_, shutdown) = database.store().await;
    shutdown.drain(PATIENCE).await;
    database.run(rows).await;
    database.run("VACUUM ANALYZE").await;
    database
}

/// Fails unless one call lets a count of Postgres' grow by less than this.
pub(crate) async fn costs(
    database: &Database,
    counted: &str,
    most: i64,
    call: impl AsyncFnOnce(&Store),
) {
    alone(database).await;
    let before = database.count(counted).await;
    let (store, shutdown) = database.store().await;
    call(&store).await;
    drop(store);
    shutdown.drain(PATIENCE).await;
    alone(database).await;
    let grown = database.count(counted).await - before;
    assert!(grown < most, "{grown}");
}

/// Waits until no other session is left: each tells what it has counted when it ends.
async fn alone(database: &Database) {
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    database.until("no session stays", others, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_conversations_costs_what_it_shows_however_often_it_is_asked_for() {
    let database = seeded(CROWD).await;
    for before in [None, Some(3000)] {
        costs(&database, INDEX_PAGES, 50_000, async |store| {
            // As often as it takes until Postgres keeps a plan, and more.
            for _ in 0..10 {
                let page = store.conversations(&did("alice"), before, 20).await;
                let (page, has_more) = page.unwrap();
                assert_eq!((page.len(), has_more), (20, true));
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_looks_at_each_seat_a_few_times_however_often_one_came_and_went() {
    // A thousand times in each of two, and once more in one of them.
    let database = seeded(
        "INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             VALUES ('aa', 'did:plc:bob', 1, 0), ('bb', 'did:plc:bob', 1, 0);
         INSERT INTO members (convo_id, user_did, joined_seq, left_seq, joined_message_seq)
             SELECT c.convo_id, 'did:plc:alice', 10 * n + ascii(c.convo_id),
                    10 * n + 5 + ascii(c.convo_id), 0
             FROM conversations c, generate_series(1, 1000) n
             UNION ALL VALUES ('aa', 'did:plc:alice', 20000, NULL::integer, 0)",
    )
    .await;
    costs(&database, LOOKED_AT, 30_000, async |store| {
        let page = store.conversations(&did("alice"), None, 20).await;
        let (page, has_more) = page.unwrap();
        let places: Vec<_> = page.iter().map(|convo| convo.place).collect();
        assert_eq!((places, has_more), (vec![20_000], false));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_lately_looks_into_no_earlier_day() {
    let database = seeded(
        "SELECT ensure_partition('event_stream', current_date - n) FROM generate_series(2, 30) n;
         INSERT INTO event_stream (seq, emitted_at, convo_id, kind, payload)
             SELECT n, date_bin('2 seconds', now() - (3000 - n) * '14 minutes'::interval, 'epoch'),
                    lpad(to_hex(n % 100), 2, '0'), 'conversationUpdated',
                    ('{\"cursor\":\"' || lpad(n || '', 26, '0') || '\"}')::json
             FROM generate_series(1, 3000) n",
    )
    .await;
    let runs: Vec<Run> = (0..100).map(|n| run(n, Seq::new(2950))).collect();
    // Yesterday, today, and the days ahead.
    let most = 100 * 6;
    costs(
        &database,
        SEARCHES_BY_CONVERSATION,
        most + 1,
        async |store| {
            let read = store.runs(&runs, 10).await.unwrap();
            assert_eq!(read.iter().map(Vec::len).sum::<usize>(), 50);
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_found_by_its_id_however_often_it_is_asked_for() {
    // One conversation has thousands in a month, the others one each.
    let database = seeded(
        "SELECT ensure_partition('messages', current_date - n) FROM generate_series(2, 33) n;
         INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                               padded_size, received_at)
             SELECT convo, n, lpad(n || '', 26, '0'), 'app', 0, decode(repeat('00', 512), 'hex'), 512,
                    512, coarse_now() - n % 33 * '1 day'::interval
             FROM generate_series(1, 5000) n, unnest(ARRAY['ab', lpad(to_hex(n), 4, '0')]) AS convo",
    )
    .await;
    let convo = ConvoId::parse("ab").unwrap();
    let id = MessageId::parse("00000000000000000000004000").unwrap();
    costs(&database, LOOKED_AT, 500, async |store| {
        // As often as it takes until Postgres keeps a plan, and more.
        for _ in 0..10 {
            assert_eq!(store.message_seq(&convo, &id).await.unwrap(), Some(4000));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_while_the_day_was_empty_serves_when_it_is_full() {
    let database = seeded("SELECT 1").await;
    let convo = ConvoId::parse("ab").unwrap();
    let id = MessageId::parse("00000000000000000000004000").unwrap();
    costs(&database, LOOKED_AT, 500, async |store| {
        for _ in 0..10 {
            assert_eq!(store.message_seq(&convo, &id).await.unwrap(), None);
        }
        database.run(MESSAGES).await;
        for _ in 0..10 {
            assert_eq!(store.message_seq(&convo, &id).await.unwrap(), Some(4000));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_reports_reads_those_of_its_conversation_once() {
    let database = seeded(
        "CREATE TEMP TABLE report AS
             SELECT 'ab' AS convo, n FROM generate_series(1, 1000) n
             UNION ALL SELECT lpad(to_hex(n), 4, '0'), n FROM generate_series(1, 10000) n;
         INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT DISTINCT convo, 'did:plc:bob', 1, 0 FROM report;
         INSERT INTO members (convo_id, user_did, is_admin, joined_seq, joined_message_seq)
             VALUES ('ab', 'did:plc:bob', true, 0, 0);
         INSERT INTO reports (report_id, convo_id, reporter_did, reported_did, category,
                              encrypted_content, message_ids, created_at)
             SELECT convo || ' ' || n, convo, 'did:plc:alice', 'did:plc:bob', 'spam', 'x', '{}',
                    coarse_now() - n * '2 s'::interval
             FROM report",
    )
    .await;
    let convo = ConvoId::parse("ab").unwrap();
    costs(&database, INDEX_PAGES, 5000, async |store| {
        for _ in 0..10 {
            let page = store
                .reports(&convo, &did("bob"), None, Some("ab 500"), 10)
                .await;
            let page = page.unwrap().unwrap();
            let ids: Vec<_> = page.iter().map(|report| &report.id).collect();
            assert_eq!((ids[0].as_str(), ids[9].as_str()), ("ab 501", "ab 510"));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_between_two_reads_each_conversation_that_they_share_once() {
    let database = seeded(SHARED).await;
    costs(&database, LOOKED_AT, 60_000, async |store| {
        let affected = store.change_block(&did("alice"), &did("bob"), true).await;
        let affected = affected.unwrap();
        assert_eq!(affected.len(), 2000);
        assert!(affected.iter().all(|convo| convo.told_at.is_some()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_between_two_makes_nobody_wait_for_all_that_hear_of_it() {
    let database = seeded(SHARED).await;
    let (store, _shutdown) = database.store().await;
    let (alice, bob) = (did("alice"), did("bob"));
    for exists in [true, false, true] {
        let affected = store.change_block(&alice, &bob, exists).await.unwrap();
        assert_eq!(affected.len(), 2000);
        assert!(affected.is_sorted_by(|one, next| one.convo < next.convo));
        assert!(affected.iter().all(|one| one.told_at.is_some() == exists));
    }
    let at_once = "SELECT max(told)::bigint
        FROM (SELECT count(*) AS told FROM event_stream GROUP BY xmin::text) t";
    assert_eq!(database.count(at_once).await, 500);
    let told = "SELECT count(*) FROM event_stream";
    assert_eq!(database.count(told).await, 4000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founders_device_that_ends_in_bites_is_judged_once_for_all_of_them() {
    let shared = SHARED.replace("2000", "4000");
    let database = seeded(&format!(
        "{shared};
         INSERT INTO devices (user_did, device_id, name, signature_key, registered_at)
             VALUES ('did:plc:bob', '{DEVICE}', 'phone', '\\x01', '2020-01-01');
         UPDATE members SET is_admin = true"
    ))
    .await;
    costs(&database, LOOKED_AT, 260_000, async |store| {
        let device = DeviceId::parse(DEVICE).unwrap();
        let now = chrono::Utc::now();
        let gone = store.delete_device(&did("bob"), &device, now).await;
        let all = DeletedDevice {
            key_packages: 0,
            conversations: 4000,
        };
        assert_eq!(gone, Ok(Some(all)));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_ends_in_bites_has_each_of_its_seats_looked_at_a_few_times() {
    let database = seeded(CROWD).await;
    costs(&database, SEATS_LOOKED_AT, 54_000, async |store| {
        let now = chrono::Utc::now();
        // As often as it takes until Postgres keeps plans, and more.
        for small in 0..8 {
            let account = did(&format!("a{small}"));
            let gone = store.delete_account(&account, now).await.unwrap();
            assert_eq!(gone.conversations, 4);
        }
        let gone = store.delete_account(&did("alice"), now).await.unwrap();
        assert_eq!(gone.conversations, 4000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_seats_of_one_conversation_need_not_all_devices() {
    let device = "lpad(n || '', 8, '0') || '-5f0c-4a86-8d4e-0a1b2c3d4e5f'";
    let database = seeded(&format!(
        "INSERT INTO devices (user_did, device_id, name, signature_key)
             SELECT 'did:plc:m' || n, {device}, 'phone', sha256(convert_to(n || '', 'UTF8'))
             FROM generate_series(1, 60000) n;
         INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
             SELECT lpad(to_hex(n), 6, '0'), 'did:plc:m1', 1, 0 FROM generate_series(1, 60) n;
         INSERT INTO members (convo_id, user_did, device_id, joined_seq, joined_message_seq)
             SELECT lpad(to_hex(1 + n / 1000), 6, '0'), 'did:plc:m' || n, {device}, n, 0
             FROM generate_series(0, 59999, 2) n WHERE n > 0"
    ))
    .await;
    let convo = ConvoId::parse("000007").unwrap();
    costs(&database, LOOKED_AT, 3000, async |store| {
        let view = store.conversation(&convo).await.unwrap().unwrap();
        assert_eq!(view.members.len(), 500);
    })
    .await;
}

fn run(conversation: u64, after: Seq) -> Run {
    Run {
        topic: Topic::Convo(ConvoId::parse(&format!("{conversation:02x}")).unwrap()),
        after,
        through: Seq::new(3000),
    }
}

/// Conversations that Bob has founded with Alice.
const SHARED: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
        SELECT lpad(to_hex(n), 6, '0'), 'did:plc:bob', 1, 0 FROM generate_series(1, 2000) n;
    INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
        SELECT c.convo_id, who, row_number() OVER (ORDER BY c.convo_id), 0
        FROM conversations c, unnest(ARRAY['did:plc:alice', 'did:plc:bob']) AS who";

/// Two accounts are in all conversations, and others in four each.
const CROWD: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
        SELECT lpad(to_hex(n), 6, '0'), 'did:plc:bob', 1, 0 FROM generate_series(1, 4000) n;
    INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
        SELECT lpad(to_hex(n), 6, '0'), who, n, 0
        FROM generate_series(1, 4000) n,
             unnest(ARRAY['did:plc:alice', 'did:plc:bob', 'did:plc:a' || n % 1000,
                          'did:plc:b' || n % 1000, 'did:plc:c' || n % 1000]) AS who";

const DEVICE: &str = "9f8d2a34-5f0c-4a86-8d4e-0a1b2c3d4e01";

const MESSAGES: &str = "
    INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size,
                          received_at)
        SELECT 'ab', n, lpad(n || '', 26, '0'), 'app', 0, decode(repeat('00', 512), 'hex'), 512, 512,
               coarse_now()
        FROM generate_series(1, 5000) n";

/// Rows of tables that were read from end to end, and entries of indexes.
pub(crate) const LOOKED_AT: &str = "SELECT ((SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes))::bigint";

const SEATS_LOOKED_AT: &str = "SELECT idx_tup_read FROM pg_stat_user_indexes
    WHERE indexrelname = 'members_seated'";

/// What is passed over in an index is no row, but takes its time too.
const INDEX_PAGES: &str = "SELECT sum(idx_blks_hit + idx_blks_read)::bigint
    FROM pg_statio_user_tables";

const SEARCHES_BY_CONVERSATION: &str = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes
    WHERE relname LIKE 'event\\_stream\\_%' AND indexrelname LIKE '%convo_id_seq_idx'";

const PATIENCE: Duration = Duration::from_secs(10);

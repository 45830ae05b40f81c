//! Retention where something is amiss: readers that hold it up, a Postgres or a holder of its
//! lock that vanishes, clocks that do not agree.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mls_relay::retention::{Retention, Settings, TaskStatus};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::store::{self, DatabaseUrl, Store, StoreError};

use crate::database::Database;
use crate::relay::{Home, eventually};
use crate::retention::{
    ATTACHED, EVENTS, MESSAGES, OLD_DAY, OLD_DAYS, OLD_WELCOMES, has_run, seeded, without_pause,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_a_reader_holds_up_half_way_out_is_finished_when_the_reader_has_ended() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    let reader = database.client().await;
    let read = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM event_stream";
    reader.batch_execute(read).await.unwrap();

    let retention = Retention::start(&store, &Live::new(without_pause()), &shutdown);
    let pending = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    database.until("half of it is done", pending, 1).await;
    eventually("it is given up for now", || async {
        retention.status().days.failures_in_a_row > 0
    })
    .await;
    assert_eq!(database.count(OLD_DAY).await, 1);
    // The reader sees what it saw.
    let seen = reader.query_one(EVENTS, &[]).await.unwrap();
    assert_eq!(seen.get::<_, i64>(0), 2);
    reader.batch_execute("COMMIT").await.unwrap();
    database.until("the day is gone", OLD_DAY, 0).await;
    database.until("nothing is half done", pending, 0).await;
    database.until("and the messages' day", MESSAGES, 2).await;
    assert_eq!(database.count(EVENTS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_somebody_holds_keeps_no_other_from_going_and_the_run_has_failed() {
    let (database, store, shutdown) = seeded(OLD_DAYS).await;
    database.run(OLD_WELCOMES).await;
    let older = "SELECT ensure_partition('event_stream', (now() - '10 days'::interval)::date)";
    database.run(older).await;
    // As VACUUM holds it, or whoever makes an index.
    let holder = database.client().await;
    let hold = "DO $$ BEGIN EXECUTE format('LOCK TABLE %I IN SHARE UPDATE EXCLUSIVE MODE',
        'event_stream_' || to_char(now() - '10 days'::interval, 'YYYYMMDD')); END $$";
    let hold = format!("BEGIN; {hold}");
    holder.batch_execute(&hold).await.unwrap();

    let retention = Retention::start(&store, &Live::new(without_pause()), &shutdown);
    eventually("a run has failed", async || {
        retention.status().days.failures_in_a_row > 0
    })
    .await;
    assert_eq!(
        database.count(OLD_DAY).await,
        1,
        "but for the one that is held"
    );
    assert_eq!(database.count(MESSAGES).await, 3);
    let welcomes = "SELECT count(*) FROM welcomes";
    assert_eq!(database.count(welcomes).await, 4);
    holder.batch_execute("COMMIT").await.unwrap();
    database.until("that day is gone, too", OLD_DAY, 0).await;
    eventually("all is well", async || {
        retention.status().days.failures_in_a_row == 0
    })
    .await;
}

/// Panics for the first who asks, and for nobody else.
fn clock_with_a_fault() -> DateTime<Utc> {
    static IS_DUE: AtomicBool = AtomicBool::new(true);
    let is_met = IS_DUE.swap(false, Ordering::Relaxed);
    assert!(!is_met, "as a fault of ours would");
    Utc::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_panics_has_failed_and_the_next_one_is_well() {
    let (_database, store, shutdown) = Database::with_store().await;
    let settings = Live::new(without_pause());
    let retention = Retention::start_by(clock_with_a_fault, &store, &settings, &shutdown);
    let tasks = || {
        let status = retention.status();
        [status.days, status.key_packages, status.nonces]
    };
    eventually("one has failed", || async {
        tasks().iter().any(|task| task.failures_in_a_row > 0)
    })
    .await;
    eventually("all are well", || async {
        let is_well = |task: &TaskStatus| task.runs > 0 && task.failures_in_a_row == 0;
        tasks().iter().all(is_well)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_vanishes_between_two_steps_of_a_day_costs_nothing_but_time() {
    let (mut database, store, shutdown) = seeded(OLD_DAYS).await;
    let settings = Live::new(Settings {
        pause: Duration::from_secs(600),
        ..Settings::default()
    });
    let retention = Retention::start(&store, &settings, &shutdown);
    database.until("the day is taken out", ATTACHED, 0).await;
    database.down("immediate");
    settings.replace(without_pause());
    eventually("the run fails", || async {
        retention.status().days.failures_in_a_row > 0
    })
    .await;
    database.up().await;
    database.until("the day is dropped", OLD_DAY, 0).await;
    database.until("and the messages' day", MESSAGES, 2).await;
    eventually("all is well", || async {
        retention.status().failing().is_empty() && retention.status().days.failures_in_a_row == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_whose_clock_is_forty_days_ahead_of_the_nodes_has_nothing_forgotten() {
    let rows = [OLD_DAYS, OLD_WELCOMES].concat();
    let (database, store, shutdown) = seeded(&rows).await;
    let tables = [
        "messages",
        "event_stream",
        "welcomes",
        "key_packages",
        "used_jti",
        "idempotency_keys",
        "key_package_claims",
    ];
    let counts = async || {
        let mut counts = Vec::new();
        for table in tables {
            let sql = format!("SELECT count(*) FROM {table}");
            counts.push((table, database.count(&sql).await));
        }
        counts
    };
    let before = counts().await;
    let behind = || Utc::now() - TimeDelta::days(40);
    let settings = Live::new(without_pause());
    let retention = Retention::start_by(behind, &store, &settings, &shutdown);
    eventually("each task has run", || async {
        let status = retention.status();
        // Where only Postgres' clock could tell, it is not believed; and that shows.
        status.days.runs > 0
            && status.key_packages.failures_in_a_row > 0
            && status.nonces.failures_in_a_row > 0
    })
    .await;
    assert_eq!(retention.status().days.failures_in_a_row, 0);
    assert_eq!(counts().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_there_before_all_clocks_leapt_ahead_is_not_forgotten_before_the_third_day() {
    // After the store has made the days around the new time.
    let before = "SELECT ensure_partition('messages', (now() - '1 day'::interval * n)::date)
            FROM generate_series(37, 60) n;
        INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size, padded_size, received_at)
        SELECT 'ab', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'app', 0, decode(repeat('00', 512), 'hex'), 512, 512,
               date_bin('2 seconds', now() - '41 days'::interval, 'epoch');
        INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference, last_resort, expires_at)
        VALUES ('did:plc:a', 'd', 1, 'x', 'h', 'r', false, now() - '9 days'::interval)";
    let (database, store, shutdown) = seeded(before).await;
    let retention = Retention::start(&store, &Live::new(without_pause()), &shutdown);
    eventually("each task has run", || async { has_run(&retention) }).await;
    let packages = "SELECT count(*) FROM key_packages";
    assert_eq!(database.count(MESSAGES).await, 1);
    assert_eq!(database.count(packages).await, 1);
    let status = retention.status();
    assert_ne!(status.days.failures_in_a_row, 0, "it shows");
    assert_eq!(status.nonces.failures_in_a_row, 0);

    let third_day = "SELECT ensure_partition('messages', (now() - '1 day'::interval * n)::date)
        FROM generate_series(2, 4) n";
    database.run(third_day).await;
    database
        .until("the message is forgotten", MESSAGES, 0)
        .await;
    database
        .until("the key package is forgotten", packages, 0)
        .await;
}

/// Its last tables are those of the day before yesterday.
#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_comes_back_on_the_fifth_day_doubts_no_clock() {
    let days = "DO $$ DECLARE v_day text; BEGIN
            FOR v_day IN SELECT relname FROM pg_class
                WHERE relkind = 'r' AND relname ~ '^messages_[0-9]{8}$' LOOP
                EXECUTE format('DROP TABLE %I', v_day);
            END LOOP;
        END $$;
        SELECT ensure_partition('messages', (now() - '1 day'::interval * n)::date)
            FROM generate_series(2, 20) n";
    let (database, store, shutdown) = seeded(days).await;
    // Until all who look at days are there.
    let holder = database.client().await;
    let hold = "BEGIN; SELECT pg_advisory_xact_lock(hashtext('mls-relay.partitions'))";
    holder.batch_execute(hold).await.unwrap();
    let settings = Live::new(without_pause());
    let retention = Retention::start(&store, &settings, &shutdown);
    database.waiting(2).await;
    holder.batch_execute("COMMIT").await.unwrap();
    eventually("each task has run", || async { has_run(&retention) }).await;
    let status = retention.status();
    let failures = [status.days, status.key_packages].map(|task| task.failures_in_a_row);
    assert_eq!(failures, [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_another_node_is_at_does_not_count_as_done() {
    let database = Database::start().await;
    let home = Home::on(&database.url());
    let holder = database.client().await;
    let hold = "SELECT pg_advisory_lock(hashtext('mls-relay.retention'), hashtext('days'))";
    holder.batch_execute(hold).await.unwrap();
    let relay = home.start();
    let runs = async |task: &str, outcome: &str| {
        let (_, metrics) = relay.ask_admin("/metrics").await;
        let of_task = metrics.lines().filter(|line| {
            line.starts_with("relay_retention_runs_total")
                && line.contains(&format!("task=\"{task}\""))
                && line.contains(&format!("outcome=\"{outcome}\""))
        });
        of_task
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum::<u64>()
    };
    eventually("it is counted apart", || async {
        runs("days", "elsewhere").await == 1 && runs("nonces", "ok").await == 1
    })
    .await;
    assert_eq!(runs("days", "ok").await, 0);
    assert_eq!(runs("nonces", "elsewhere").await, 0);
}

/// After how long the system at Postgres' side asks the holder of a lock whether it lives, in
/// hundredths of a second: by the timer of its socket, as Linux shows it.
async fn asked_after(server: Ipv4Addr, database: &Database, waits: bool) -> Option<u32> {
    let holder = "SELECT a.client_port FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE l.locktype = 'advisory' AND l.granted <> $1 AND a.client_port > 0";
    let port: i32 = *database.all(holder, &[&waits]).await.first()?;
    let local = format!("{:08X}:1538", u32::from_le_bytes(server.octets()));
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let timer = sockets.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_holder = fields[1] == local && fields[2].ends_with(&format!(":{port:04X}"));
        // The kind of timer 2 is that of keepalives.
        let (kind, when) = fields[5].split_once(':')?;
        (is_holder && kind == "02").then(|| when.to_owned())
    })?;
    u32::from_str_radix(&timer, 16).ok()
}

/// A Postgres that is reached over TCP, at an address that no other test has.
async fn over_tcp() -> (Database, Ipv4Addr, store::Settings) {
    let [.., high, low] = std::process::id().to_be_bytes();
    let address = Ipv4Addr::new(127, 91, high, low);
    let listen = format!("listen_addresses={address}");
    let database = Database::with_settings(&[listen.as_str()]).await;
    let url = format!("postgres://relay@{address}/postgres");
    let settings = store::Settings::for_database(DatabaseUrl::parse(&url).unwrap());
    (database, address, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_has_as_long_for_a_statement_as_the_operator_says() {
    let database = Database::start().await;
    let (store, _shutdown) = database
        .store_with(|settings| settings.forget_timeout = Duration::from_millis(200))
        .await;
    let slow = "ALTER FUNCTION forget_jtis(integer) RENAME TO forget_jtis_soon;
        CREATE FUNCTION forget_jtis(integer) RETURNS bigint LANGUAGE sql
            AS 'SELECT forget_jtis_soon($1) FROM pg_sleep(60)'";
    database.run(slow).await;
    let forgetting = store.forgetting("nonces").await.unwrap().unwrap();
    assert_eq!(forgetting.jtis().await, Err(StoreError::Timeout));
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_that_a_foreign_transaction_keeps_from_a_table_says_so() {
    let (database, store, _shutdown) = Database::with_store().await;
    let mut client = database.client().await;
    let dump = client.transaction().await.unwrap();
    let lock = "LOCK TABLE used_jti IN SHARE MODE";
    dump.batch_execute(lock).await.unwrap();
    let forgetting = store.forgetting("nonces").await.unwrap().unwrap();
    let refused = forgetting.jtis().await.unwrap_err();
    assert!(refused.to_string().contains("55P03"), "{refused}");
    assert_eq!(refused.label(), "timeout");
    assert!(refused.is_transient());
}

const HALF_A_MINUTE: u32 = 30 * 100;

#[tokio::test(flavor = "multi_thread")]
async fn postgres_asks_within_half_a_minute_whether_who_holds_a_lock_still_lives() {
    let (database, address, settings) = over_tcp().await;
    let shutdown = Shutdown::default();
    let store = Store::open(settings, &shutdown).await.unwrap();
    let _held = store.forgetting("days").await.unwrap().unwrap();
    eventually("the lock's holder is asked soon", || async {
        let after = asked_after(address, &database, false).await;
        after.is_some_and(|after| after <= HALF_A_MINUTE)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_a_migration_that_nobody_waits_for_keep_its_turn() {
    let (database, address, settings) = over_tcp().await;
    let client = database.client().await;
    let turn = "SELECT pg_advisory_lock(hashtext('mls-relay.migrate'))";
    client.batch_execute(turn).await.unwrap();
    let migrating = tokio::spawn(async move { Store::migrate(&settings).await });
    eventually("who waits for its turn is asked soon", || async {
        let after = asked_after(address, &database, true).await;
        after.is_some_and(|after| after <= HALF_A_MINUTE)
    })
    .await;
    let release = "SELECT pg_advisory_unlock_all()";
    client.batch_execute(release).await.unwrap();
    assert_eq!(migrating.await.unwrap(), Ok(()));
}

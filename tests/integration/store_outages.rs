//! What the store does where others fall silent: Postgres, its callers, and the first asker
//! of a call that is repeated.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mls_relay::store::{
    AppendError, DatabaseUrl, Reservation, Settings, SharedStay, Store, StoreError,
};
use mls_relay::types::{ConvoId, Epoch};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::authority::Authority;
use crate::database::Database;
use crate::relay::eventually;
use crate::store_values::{commit, did, message};

/// A way to Postgres that can fall silent: then it takes connections and passes nothing on.
struct Way {
    port: u16,
    is_silent: Arc<AtomicBool>,
}

impl Way {
    async fn to(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_silent = Arc::new(AtomicBool::new(false));
        let (silent, socket) = (Arc::clone(&is_silent), database.socket());
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut held = Vec::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                if silent.load(Ordering::Relaxed) {
                    connections.abort_all();
                    held.push(client);
                    continue;
                }
                let mut server = UnixStream::connect(&socket).await.unwrap();
                connections.spawn(async move {
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port, is_silent }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_connections_and_says_nothing_keeps_no_place_in_the_pool() {
    let database = Database::start().await;
    let way = Way::to(&database).await;
    let (port, limit) = (way.port, Duration::from_secs(1));
    let url = format!("postgres://relay@127.0.0.1:{port}/postgres?connect_timeout=1");
    let (store, _shutdown) = database
        .store_with(|settings| {
            settings.database_url = DatabaseUrl::parse(&url).unwrap();
            settings.connections_max = 1;
            settings.statement_timeout = limit;
            settings.acquire_timeout = limit;
        })
        .await;
    // No connection is open yet: the first one meets silence.
    way.is_silent.store(true, Ordering::Relaxed);
    assert!(store.ensure_partitions().await.is_err());
    way.is_silent.store(false, Ordering::Relaxed);
    eventually("the silent one is given up", async || {
        store.ensure_partitions().await.is_ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_does_not_answer_keeps_nobody_from_listening_at_the_next() {
    let database = Database::start().await;
    // A listener whose backlog is full takes no connection, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&silent, 0).unwrap();
    let silent = silent.local_addr().unwrap();
    let moment = Duration::from_millis(100);
    let mut held = Vec::new();
    while let Ok(stream) = timeout(moment, TcpStream::connect(silent)).await {
        held.push(stream.unwrap());
    }
    let hosts = database.url().replacen("host=", "host=127.0.0.1,", 1);
    let url = format!("{hosts} port={},5432 connect_timeout=6", silent.port());
    let (store, _shutdown) = database
        .store_with(|settings| {
            settings.listen_url = Some(DatabaseUrl::parse(&url).unwrap());
            settings.statement_timeout = Duration::from_millis(500);
        })
        .await;
    let listening = store.listen(&["relay_events"]).await;
    assert!(listening.is_ok(), "{:?}", listening.err());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_listens_is_not_cut_off_for_saying_nothing() {
    let database = Database::start().await;
    database
        .run("ALTER ROLE relay SET idle_session_timeout = '500ms'")
        .await;
    let (store, _shutdown) = database.store_with(|_| {}).await;
    let mut heard = store.listen(&["relay_events"]).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    database.run("NOTIFY relay_events, 'rung'").await;
    assert_eq!(heard.next().await.unwrap().payload, "rung");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_statement_of_a_caller_that_went_away() {
    let (database, store, _shutdown) = Database::with_store().await;
    let mut client = database.client().await;
    let locking = client.transaction().await.unwrap();
    let lock = "LOCK TABLE penalties IN ACCESS EXCLUSIVE MODE";
    locking.batch_execute(lock).await.unwrap();
    let stay = SharedStay {
        subject: [7; 16],
        level: 1,
        until: 0,
    };
    let told = [stay];
    let exchange = store.exchange_penalties(&told, Duration::from_secs(1));
    tokio::select! {
        told = exchange => panic!("it did not wait for the lock: {told:?}"),
        () = database.waiting(1) => {}
    }
    let asked = timeout(Duration::from_secs(3), store.ensure_partitions()).await;
    assert_eq!(asked, Ok(Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_somebody_holds_holds_up_no_other() {
    let database = Database::start().await;
    let (store, _shutdown) = database
        .store_with(|settings| {
            settings.committers = 1;
            settings.statement_timeout = Duration::from_secs(2);
        })
        .await;
    let rows = "
        INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
            VALUES ('aa', 'did:plc:a', 1, 0), ('bb', 'did:plc:a', 1, 0);
        INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
            VALUES ('aa', 'did:plc:a', 1, 0), ('bb', 'did:plc:a', 1, 0)";
    let holder = database.client().await;
    holder.batch_execute(rows).await.unwrap();
    let send = |convo: &str| {
        let message = message(&ConvoId::parse(convo).unwrap(), &did("a"));
        let store = store.clone();
        tokio::spawn(async move { store.append(message).await })
    };
    let hold = "BEGIN; SELECT FROM conversations WHERE convo_id = 'aa' FOR UPDATE";
    holder.batch_execute(hold).await.unwrap();
    // The first is alone in its batch; those that come meanwhile are together in the next.
    let mut sends = vec![send("aa")];
    database.waiting(1).await;
    for convo in ["bb", "aa", "bb", "aa"] {
        sends.push(send(convo));
    }
    for (sent, is_held) in sends.into_iter().zip([true, false].into_iter().cycle()) {
        let sent = sent.await.unwrap().map(|_| ());
        assert_eq!(sent, if is_held { Err(locked()) } else { Ok(()) });
    }
    holder.batch_execute("COMMIT").await.unwrap();
    send("aa").await.unwrap().unwrap();
}

/// That somebody's transaction holds it, and not that Postgres is slow.
fn locked() -> AppendError {
    StoreError::Locked.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_in_vain_for_a_lock_that_everybody_needs_is_told_that_it_is_a_lock() {
    let database = Database::start().await;
    let limit = Duration::from_secs(1);
    let (store, _shutdown) = database
        .store_with(|settings| settings.statement_timeout = limit)
        .await;
    let [one, other] = ["aa", "bb"].map(|convo| ConvoId::parse(convo).unwrap());
    let seats = "VALUES ('aa', 'did:plc:a'), ('bb', 'did:plc:a')";
    database.seat(seats).await;
    let holder = database.client().await;
    let hold = "SELECT pg_advisory_lock(hashtext('mls-relay.stream'))";
    holder.batch_execute(hold).await.unwrap();
    let change = commit(&other, &did("a"), Epoch::default(), vec![1]);
    let (sent, changed) = tokio::join!(
        store.append(message(&one, &did("a"))),
        store.change_group(&change),
    );
    assert_eq!(sent, Err(locked()));
    assert_eq!(changed, Err(StoreError::Locked));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_of_the_authority_is_not_waited_for_after_the_start() {
    let database = Database::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, Authority::new().pem()).unwrap();
    let (store, _shutdown) = database
        .store_with(|settings| settings.ca_file = Some(file.clone()))
        .await;
    // Whoever opens a pipe to read from it waits for somebody who writes.
    fs::remove_file(&file).unwrap();
    mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let asked =
        tokio::spawn(async move { store.forgetting("days").await.map(|got| got.is_some()) });
    let answered = timeout(Duration::from_secs(15), asked).await;
    // Nobody waits for ever, or the test would.
    drop(open(
        &file,
        OFlags::WRONLY | OFlags::NONBLOCK,
        Mode::empty(),
    ));
    assert_eq!(answered.unwrap().unwrap(), Ok(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_sessions_that_wait_more_than_may_are_asked_to_come_back() {
    let database = Database::start().await;
    let (store, _shutdown) = database
        .store_with(|settings| settings.reads_queue_max = 1)
        .await;
    let locking = database.client().await;
    let lock = "BEGIN; LOCK TABLE members IN ACCESS EXCLUSIVE MODE";
    locking.batch_execute(lock).await.unwrap();
    let ask = || {
        let (store, did) = (store.clone(), did("a"));
        tokio::spawn(async move { store.memberships(&did).await.map(drop) })
    };
    let first = ask();
    database.waiting(1).await;
    // One is asked about, one may wait.
    let mut others: JoinSet<_> = [ask(), ask()].into_iter().collect();
    let told = others.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(told, Err(StoreError::Unavailable));
    locking.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(others.join_next().await.unwrap().unwrap().unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_go_away_cost_no_connection() {
    const CALLS: usize = 4;
    let database = Database::start().await;
    let (store, _shutdown) = database
        .store_with(|settings| settings.connections_max = CALLS as u32)
        .await;
    let (locking, watching) = (database.client().await, database.client().await);
    let waiting = "SELECT pid FROM pg_stat_activity
        WHERE application_name = 'mls-relay' AND wait_event_type = 'Lock' ORDER BY pid";
    let mut seen: Option<Vec<i32>> = None;
    // First they leave while their statements are prepared, and then while these run.
    for _ in 0..3 {
        let lock = "BEGIN; LOCK TABLE conversations IN ACCESS EXCLUSIVE MODE";
        locking.batch_execute(lock).await.unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let (store, convo) = (store.clone(), ConvoId::parse("aa").unwrap());
            calls.spawn(async move { store.conversation(&convo).await });
        }
        database.waiting(CALLS as i64).await;
        let rows = watching.query(waiting, &[]).await.unwrap();
        let backends: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(&backends, seen.get_or_insert_with(|| backends.clone()));
        calls.shutdown().await;
        locking.batch_execute("ROLLBACK").await.unwrap();
    }
    assert_eq!(store.ensure_partitions().await, Ok(()));
    assert_eq!(store.pool_usage().open, CALLS as u32);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_after_its_lease_touches_nobody_elses() {
    let (_database, store, _shutdown) = Database::with_store().await;
    let (key, first, second) = ([1; 32], [2; 32], [3; 32]);
    let (none, minute) = (Duration::ZERO, Duration::from_secs(60));
    let reserve = async |request, lease| store.reserve(&key, request, lease).await.unwrap();
    let Reservation::Run(late) = reserve(&first, none).await else {
        panic!("it is the first");
    };
    let Reservation::Run(lease) = reserve(&second, minute).await else {
        panic!("the first one's time is over");
    };
    store.release(&key, late).await.unwrap();
    assert_eq!(reserve(&second, minute).await, Reservation::UnderWay);
    store
        .keep_answer(&key, late, b"of the first", minute)
        .await
        .unwrap();
    assert_eq!(reserve(&second, minute).await, Reservation::UnderWay);
    store
        .keep_answer(&key, lease, b"its own", minute)
        .await
        .unwrap();
    let answered = Reservation::Answered(b"its own".to_vec());
    assert_eq!(reserve(&second, minute).await, answered);
}

#[tokio::test(flavor = "multi_thread")]
async fn stays_of_long_ago_are_not_read_by_every_session() {
    let (database, store, _shutdown) = Database::with_store().await;
    let rows = "
        INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
            VALUES ('ab', 'did:plc:a', 1, 0);
        INSERT INTO members (convo_id, user_did, joined_seq, left_seq, joined_message_seq)
            SELECT 'ab', 'did:plc:bob', n, n + 1, 0 FROM generate_series(1, 1999, 2) n;
        INSERT INTO members (convo_id, user_did, joined_seq, joined_message_seq)
            VALUES ('ab', 'did:plc:bob', 3000, 0)";
    database.run(rows).await;
    let bob = did("bob");
    assert_eq!(store.memberships(&bob).await.unwrap().len(), 1001);
    let forgotten = "UPDATE stream_floor SET forgotten = 1000000";
    database.run(forgotten).await;
    assert_eq!(store.memberships(&bob).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_is_not_cut_off_by_the_timeouts_of_its_role() {
    let database = Database::empty().await;
    let other = database.client().await;
    let held = "ALTER ROLE relay SET lock_timeout = '200ms';
        ALTER ROLE relay SET statement_timeout = '200ms';
        SELECT pg_advisory_lock(hashtext('mls-relay.migrate'))";
    other.batch_execute(held).await.unwrap();
    let settings = Settings::for_database(DatabaseUrl::parse(&database.url()).unwrap());
    let migrating = tokio::spawn(async move { Store::migrate(&settings).await });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory'
        AND clock_timestamp() > query_start + interval '1 s'";
    let deadline = Instant::now() + Duration::from_secs(15);
    while other.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(!migrating.is_finished(), "{:?}", migrating.await);
        assert!(Instant::now() < deadline, "it does not wait for its turn");
    }
    let release = "SELECT pg_advisory_unlock_all()";
    other.batch_execute(release).await.unwrap();
    assert_eq!(migrating.await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_encoding_gets_no_tables() {
    let database = Database::empty().await;
    for encoding in ["SQL_ASCII", "WIN1252"] {
        let name = encoding.to_lowercase();
        let create = format!("CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0");
        database.run(&create).await;
        let url = database
            .url()
            .replace("dbname=postgres", &format!("dbname={name}"));
        let settings = Settings::for_database(DatabaseUrl::parse(&url).unwrap());
        let refused = Store::migrate(&settings).await.unwrap_err();
        assert!(!refused.is_transient());
        let said = format!("the database's encoding is {encoding}: it must be UTF8");
        assert_eq!(refused.to_string(), said);
    }
}

#[tokio::test]
async fn forgetting_does_not_wait_for_ever_on_a_server_that_fell_silent() {
    let (database, store, _shutdown) = Database::with_store().await;
    let forgetting = store.forgetting("nonces").await.unwrap().unwrap();
    let mut client = database.client().await;
    let locking = client.transaction().await.unwrap();
    let lock = "LOCK TABLE used_jti IN ACCESS EXCLUSIVE MODE";
    locking.batch_execute(lock).await.unwrap();
    // Now time runs as soon as all wait, and Postgres has none to answer in.
    tokio::time::pause();
    let silence = timeout(Duration::from_secs(3600), forgetting.jtis()).await;
    assert_eq!(silence, Ok(Err(StoreError::Timeout)));
    tokio::time::resume();
    eventually("the silent one lets go of its lock", async || {
        store.forgetting("nonces").await.unwrap().is_some()
    })
    .await;
}

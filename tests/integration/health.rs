//! Health tells what is away and why, and is well again by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::pending;
use hyper::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::database::Database;
use crate::relay::{Home, Relay, eventually};
use crate::tls::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_postgres_is_told_with_its_cause_and_ends_by_itself() {
    let mut database = Database::start().await;
    let relay = Home::on(&database.url()).start();
    assert!(relay.is_ready().await);
    database.down("fast");
    let told = |check: &Value| check["ok"] == false && check["cause"].is_string();
    let is_told = |ready: bool, checks: &Value| {
        !ready
            && told(&checks["database"])
            && told(&checks["events"])
            && checks["config"]["ok"] == true
    };
    relay.health_until("it is told", is_told).await;
    // Strangers hear the status and nothing else; nobody needs to restart us.
    let answer = Client::http1(&relay).get(&relay, "/health/ready", "").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(relay.ask_admin("/health/live").await.0, StatusCode::OK);
    database.up().await;
    let is_well = |ready, checks: &Value| ready && checks["database"].get("cause").is_none();
    relay.health_until("it is well again", is_well).await;
}

/// What is logged at WARN with this in it.
fn warns(relay: &Relay, word: &str) -> String {
    let line = relay.says(word);
    assert!(line.contains("WARN"), "{line}");
    line
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_no_writes_is_away_until_it_takes_them_again() {
    let database = Database::start().await;
    let relay = Home::on(&database.url()).start();
    let admin = database.client().await;
    // In two transactions: who comes back at once must find it so.
    for statement in [
        "ALTER DATABASE postgres SET default_transaction_read_only = on",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'mls-relay'",
    ] {
        admin.batch_execute(statement).await.unwrap();
    }
    eventually("it is told", || async {
        let (status, report) = relay.health().await;
        let cause = report["checks"]["database"]["cause"].as_str();
        let (_, metrics) = relay.ask_admin("/metrics").await;
        status == StatusCode::SERVICE_UNAVAILABLE
            && cause.is_some_and(|cause| cause.contains("takes no writes"))
            && metrics.contains("relay_store_up 0")
            && metrics.contains("relay_store_errors_total{kind=\"read_only\"}")
    })
    .await;
    warns(&relay, "SQLSTATE 25006");
    // Whoever comes to mend it may write no more than the relay.
    let client = database.client().await;
    for statement in way_out_of_read_only().split_inclusive(';') {
        client.batch_execute(statement).await.unwrap();
    }
    eventually("it is well again", || relay.is_ready()).await;
}

/// What docs/operations.md says, of this database.
fn way_out_of_read_only() -> String {
    let page = include_str!("../../docs/operations.md");
    let section = page.split("\n### RelayDatabaseAway\n").nth(1).unwrap();
    let block = section.split("```sql\n").nth(1).unwrap();
    let block = block.split("```").next().unwrap();
    assert!(block.contains("ALTER DATABASE relay RESET"));
    block.replace("DATABASE relay", "DATABASE postgres")
}

/// As a failover that leaves the old primary running, and fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_was_demoted_is_left_for_the_one_that_takes_writes() {
    let (old, new) = (Database::start().await, Database::start().await);
    drop(new.store().await);
    let directory = |database: &Database| database.socket().parent().unwrap().to_owned();
    let url = format!(
        "host={},{} user=relay dbname=postgres target_session_attrs=read-write",
        directory(&old).display(),
        directory(&new).display()
    );
    let relay = Home::on(&url).start();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mls-relay'";
    let on = async |database: &Database| -> i64 { database.one(sessions, &[]).await };
    assert_ne!(on(&old).await, 0);
    let fence = "ALTER SYSTEM SET default_transaction_read_only = on";
    let client = old.client().await;
    for statement in [fence, "SELECT pg_reload_conf()"] {
        client.batch_execute(statement).await.unwrap();
    }
    old.until("nothing is left on the old one", sessions, 0)
        .await;
    let hears = |ready, checks: &Value| ready && checks["events"].get("cause").is_none();
    relay
        .health_until("it hears what commits on the new one", hears)
        .await;
    assert_ne!(on(&new).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_names_the_statement_that_postgres_refuses() {
    let database = Database::empty().await;
    let setup = "CREATE ROLE guest LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    database.run(setup).await;
    let url = database.url().replace("user=relay", "user=guest");
    assert_ne!(url, database.url());
    let refused = Home::on(&url).command(&["migrate"]).output();
    let said = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(said.contains("SQLSTATE 42501"), "{said}");
    assert!(said.contains("CREATE TABLE schema_migrations"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_refuses_is_in_the_log_with_its_sqlstate_and_its_statement() {
    let database = Database::start().await;
    let relay = Home::on(&database.url()).start();
    let lost = "ALTER TABLE devices RENAME TO gone";
    database.run(lost).await;
    delete_an_account(relay.admin).await;
    let line = warns(&relay, "SQLSTATE 42P01");
    assert!(line.contains("statement=SELECT"), "{line}");
    assert!(!line.contains("nobody"), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_cut_off_is_told_while_events_are_polled() {
    let database = Database::start().await;
    let relay = Home::on(&database.url())
        .with(
            "DATABASE_LISTEN_URL",
            "host=/nowhere user=relay dbname=postgres",
        )
        .start();
    let cause = "the listening connection is down; events are read by polling";
    let polls = |ready, checks: &Value| {
        ready && checks["events"]["ok"] == true && checks["events"]["cause"] == cause
    };
    relay.health_until("polling, with its cause", polls).await;
    // Nobody sings where nobody listens: no canary was late.
    let late = relay.figure("relay_events_canaries_late_total").await;
    assert_eq!(late, None);
}

/// A way to Postgres, and what makes it lose whoever came by it: nothing is passed on then, and
/// nobody is cut off.
async fn forgetful_way(database: &Database) -> (u16, Arc<Notify>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (lost, socket) = (Arc::new(Notify::new()), database.socket());
    let losing = Arc::clone(&lost);
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = UnixStream::connect(&socket).await.unwrap();
            let lost = Arc::clone(&losing);
            tokio::spawn(async move {
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    () = lost.notified() => pending().await,
                }
            });
        }
    });
    (port, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_something_on_the_way_has_lost_is_replaced() {
    let database = Database::start().await;
    let (port, lost) = forgetful_way(&database).await;
    let listen = format!("postgres://relay@127.0.0.1:{port}/postgres");
    let relay = Home::on(&database.url())
        .with("DATABASE_LISTEN_URL", &listen)
        .start();
    let hears = async |how| relay.figure("relay_events_hearing").await == Some(how);
    eventually("by notification", || hears(2)).await;
    lost.notify_waiters();
    eventually("by polling", || hears(1)).await;
    eventually("by notification again", || hears(2)).await;
    warns(&relay, "brings nothing");
    assert!(!relay.log().contains("pooler"), "{}", relay.log());
}

/// Deletes an account that nobody has: one statement on the pool of calls.
async fn delete_an_account(admin: std::net::SocketAddr) {
    let request =
        "DELETE /accounts?did=did:plc:nobody HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(admin).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_is_told_as_such_and_keeps_no_node_out_of_service() {
    let database = Database::start().await;
    let relay = Home::on(&database.url())
        .with("DATABASE_CONNECTIONS_MAX", "1")
        .with("DATABASE_ACQUIRE_TIMEOUT_MS", "200")
        .with("DATABASE_STATEMENT_TIMEOUT_MS", "60000")
        .start();
    let mut other = database.client().await;
    let holding = other.transaction().await.unwrap();
    let lock = "LOCK TABLE devices IN ACCESS EXCLUSIVE MODE";
    holding.batch_execute(lock).await.unwrap();
    // One call waits for the lock with the only connection; the others find none.
    let admin = relay.admin;
    let mut calls = JoinSet::new();
    for _ in 0..2 {
        calls.spawn(async move {
            loop {
                delete_an_account(admin).await;
            }
        });
    }
    let is_short = |_, checks: &Value| checks["pool"]["ok"] == false;
    relay.health_until("the pool is short", is_short).await;
    // Longer than the database is asked once, and given up.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let (status, report) = relay.health().await;
        assert_eq!(status, StatusCode::OK, "{report}");
        assert_eq!(report["checks"]["database"]["ok"], true, "{report}");
        assert!(relay.is_ready().await);
        sleep(Duration::from_millis(100)).await;
    }
    calls.shutdown().await;
    holding.rollback().await.unwrap();
    let is_well = |_, checks: &Value| checks["pool"]["ok"] == true;
    relay.health_until("the pool is well again", is_well).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_that_keeps_failing_is_told_and_keeps_no_node_out_of_service() {
    let database = Database::start().await;
    let home = Home::on(&database.url());
    let lost = "ALTER FUNCTION forget_jtis(integer) RENAME TO forget_nothing";
    database.run(lost).await;
    let relay = home.start();
    let is_told = |ready: bool, checks: &Value| {
        let check = &checks["retention"];
        ready && check["ok"] == false && check["cause"] == "keeps failing: nonces"
    };
    relay.health_until("it is told", is_told).await;
    assert!(relay.is_ready().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_wrong_is_told_and_keeps_no_node_out_of_service() {
    let database = Database::start().await;
    let home = Home::on(&database.url());
    let clock = "
        CREATE SCHEMA other;
        CREATE FUNCTION other.clock_timestamp() RETURNS timestamptz LANGUAGE sql
            AS $$ SELECT pg_catalog.clock_timestamp() + interval '1 hour' $$;
        ALTER DATABASE postgres SET search_path = other, pg_catalog, public";
    database.run(clock).await;
    let relay = home.start();
    let is_told = |ready: bool, checks: &Value| ready && checks["clock"]["ok"] == false;
    relay.health_until("it is told", is_told).await;
    let line = warns(&relay, "whether this node's clock agrees with Postgres'");
    assert!(line.contains("is_well=false"), "{line}");
    assert!(line.contains("ahead_seconds=-3"), "{line}");
}

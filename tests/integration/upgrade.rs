//! An upgrade: nodes of the version before serve on while a new one brings the schema up to
//! date, on connections that they had before, with calls under way.

use std::fs::{File, read_to_string};
use std::path::Path;
use std::time::Duration;

use mls_relay::store::{DatabaseUrl, SCHEMA_BEFORE, Settings, Store};
use mls_relay::types::ConvoId;
use tokio_postgres::Client;

use crate::database::Database;
use crate::relay::{Home, eventually};
use crate::store_values::did;

#[tokio::test]
async fn what_the_version_before_has_prepared_answers_as_before_after_the_migrations() {
    let database = version_before().await;
    let client = database.client().await;
    let mut prepared = Vec::new();
    for row in client.query(CALLS, &[]).await.unwrap() {
        let call: String = row.get("call");
        let statement = client.prepare(&call).await.unwrap();
        // As often as it takes until Postgres keeps a plan.
        let mut before = None;
        for _ in 0..6 {
            before = outcome(&client, &statement).await;
        }
        prepared.push((call, statement, before));
    }
    assert!(prepared.len() > 30, "only {} functions", prepared.len());

    Store::migrate(&settings(&database)).await.unwrap();
    let fresh = database.client().await;
    let mut faults = Vec::new();
    for (call, statement, before) in &prepared {
        let after = outcome(&client, statement).await;
        if after != *before {
            faults.push(format!("{call}: {before:?}, and then {after:?}"));
        }
        // A connection that is opened later finds it too.
        if let Err(error) = fresh.prepare(call).await {
            faults.push(format!("{call}: {error:?}"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_column_that_a_later_version_adds_is_nothing_to_who_has_read_its_table_before() {
    let database = Database::start().await;
    let (store, _shutdown) = database
        .store_with(|settings| settings.connections_max = 1)
        .await;
    let (people, convo) = ([did("a"), did("b")], ConvoId::parse("aa").unwrap());
    let read = async || {
        store.blocks_among(&people).await?;
        store.opt_ins(&people).await?;
        store.reports(&convo, &people[0], None, None, 10).await
    };
    read().await.unwrap();
    for table in ["blocks", "opt_ins", "reports"] {
        let later = format!("ALTER TABLE {table} ADD COLUMN later text");
        database.run(&later).await;
    }
    read().await.unwrap();
}

#[tokio::test]
async fn a_call_of_the_version_before_that_is_under_way_meanwhile_ends_well() {
    let database = version_before().await;
    let client = database.client().await;
    client.batch_execute(PEOPLE).await.unwrap();
    let holder = database.client().await;
    let hold = "BEGIN; SELECT FROM devices FOR UPDATE; \
        SELECT FROM conversations FOR NO KEY UPDATE";
    holder.batch_execute(hold).await.unwrap();
    let mut calls = Vec::new();
    for call in [
        "SELECT outcome FROM change_group('ab01', 'did:plc:alice', 0, '\\x0102', \
             '01ARZ3NDEKTSV4RRFFQ69G5FAV', '{}', '\\x01', NULL, '{}', '{}', NULL, NULL, NULL, \
             NULL, false, NULL, 100, false, NULL, false, NULL, 32, 500, 1000, 5000)",
        "SELECT outcome FROM create_conversation('ab04', 'did:plc:dave', 1::smallint, 0, NULL, \
             NULL, '{}', '{}', NULL, NULL, 100, 'd', 32, 500, 1000, 5000)",
        "SELECT outcome FROM delete_device('did:plc:bob', 'b', '\\x01', now(), 500, '')",
        "SELECT CASE seats WHEN 1 THEN 'done' END AS outcome \
             FROM delete_account('did:plc:carol', '\\x02', now(), 500, '')",
    ] {
        let caller = database.client().await;
        calls.push(tokio::spawn(async move {
            let answered = caller.query_one(call, &[]).await;
            answered.map(|row| row.get::<_, Option<String>>("outcome"))
        }));
    }
    database.waiting(4).await;

    Store::migrate(&settings(&database)).await.unwrap();
    holder.batch_execute("COMMIT").await.unwrap();
    for call in calls {
        let outcome = call.await.unwrap().unwrap();
        assert_eq!(outcome.as_deref(), Some("done"));
    }
    let left = "SELECT count(*) FROM members WHERE left_seq IS NOT NULL";
    let left: i64 = client.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 2);
}

#[tokio::test]
async fn a_backup_that_reads_on_meanwhile_keeps_nobody_waiting() {
    let database = version_before().await;
    let client = database.client().await;
    client.batch_execute(PEOPLE).await.unwrap();
    let backup = database.client().await;
    let hold = "BEGIN; SELECT FROM conversations; SELECT FROM members; SELECT FROM messages";
    backup.batch_execute(hold).await.unwrap();
    let settings = settings(&database);
    let migrated = tokio::spawn(async move { Store::migrate(&settings).await });
    let soon = Duration::from_secs(10);
    let busy = "UPDATE conversations SET name = 'busy'";
    while !migrated.is_finished() {
        let call = tokio::time::timeout(soon, client.batch_execute(busy)).await;
        call.unwrap().unwrap();
    }
    migrated.await.unwrap().unwrap();
    backup.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn who_waits_has_said_for_what() {
    let database = version_before().await;
    // The last that a step does is to say here that it is done.
    let ledger = database.client().await;
    let hold = "BEGIN; LOCK TABLE schema_migrations IN SHARE MODE";
    ledger.batch_execute(hold).await.unwrap();
    let migrating = || {
        let home = Home::on(&database.url());
        let log = home.path().join("log");
        let mut command = home.command(&["migrate"]);
        command.stderr(File::create(&log).unwrap());
        // As in release builds.
        command.env("RUST_LOG", "warn");
        let says = async move |wanted: &str| {
            eventually(wanted, async || {
                read_to_string(&log).unwrap().contains(wanted)
            })
            .await;
        };
        (command.spawn().unwrap(), says, home)
    };
    let (mut first, first_says, _first_home) = migrating();
    let version = SCHEMA_BEFORE + 1;
    first_says(&format!(
        "the schema is brought to its next version version={version}"
    ))
    .await;
    let (mut second, second_says, _second_home) = migrating();
    second_says("another node brings the schema up to date").await;
    ledger.batch_execute("COMMIT").await.unwrap();
    for node in [&mut first, &mut second] {
        assert!(node.wait().unwrap().success());
    }
}

#[tokio::test]
async fn what_the_files_made_that_became_the_base_is_taken_as_it_is() {
    let database = version_before().await;
    let client = database.client().await;
    let rows = format!(
        "DELETE FROM schema_migrations;
        INSERT INTO schema_migrations (version, checksum)
            SELECT n, 'of a file' FROM generate_series(1, {SCHEMA_BEFORE}) n"
    );
    client.batch_execute(&rows).await.unwrap();
    for _ in 0..2 {
        Store::migrate(&settings(&database)).await.unwrap();
    }
    let rows = "SELECT version, checksum = 'of a file' FROM schema_migrations ORDER BY version";
    let rows = client.query(rows, &[]).await.unwrap();
    for (row, version) in rows.iter().zip(1..) {
        let (found, is_of_a_file) = (row.get(0), row.get(1));
        assert_eq!((version, version <= SCHEMA_BEFORE), (found, is_of_a_file));
    }
    let last = rows.last().unwrap().get::<_, i32>(0);
    assert!(last > SCHEMA_BEFORE, "nothing came after the base");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_a_version_out_is_told_which_and_nothing_changes() {
    for found in [1, SCHEMA_BEFORE - 1] {
        let database = Database::empty().await;
        let client = database.client().await;
        client.batch_execute(LEDGER).await.unwrap();
        let rows = "INSERT INTO schema_migrations (version, checksum)
            SELECT n, 'of a file' FROM generate_series(1, $1) n";
        client.execute(rows, &[&found]).await.unwrap();
        let refused = Home::new()
            .with("DATABASE_URL", &database.url())
            .command(&["migrate"])
            .output()
            .unwrap();
        assert_eq!(refused.status.code(), Some(69), "{refused:?}");
        let said = String::from_utf8(refused.stderr).unwrap();
        for wanted in [
            format!("version {found}, is older than {SCHEMA_BEFORE}"),
            format!("whose schema is version {SCHEMA_BEFORE}"),
        ] {
            assert!(said.contains(&wanted), "{said}");
        }
        let left = "SELECT (SELECT count(*) FROM schema_migrations),
            (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')";
        let left = client.query_one(left, &[]).await.unwrap();
        let left: (i64, i64) = (left.get(0), left.get(1));
        assert_eq!(left, (i64::from(found), 1));
    }
}

#[tokio::test]
async fn nodes_that_start_together_on_an_empty_database_make_one_schema() {
    let database = Database::empty().await;
    let settings = settings(&database);
    let starts = (0..8).map(|_| Store::migrate(&settings));
    for started in futures_util::future::join_all(starts).await {
        started.unwrap();
    }
    let versions = "SELECT version FROM schema_migrations ORDER BY version";
    let versions = database.client().await.query(versions, &[]).await.unwrap();
    for (row, version) in versions.iter().zip(SCHEMA_BEFORE..) {
        assert_eq!(row.get::<_, i32>(0), version);
    }
    assert!(versions.len() > 1, "nothing came after the base");
}

/// What a call comes to: nothing, or its SQLSTATE. It changes nothing.
async fn outcome(client: &Client, call: &tokio_postgres::Statement) -> Option<String> {
    client.batch_execute("BEGIN").await.unwrap();
    let answer = client.query(call, &[]).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    Some(answer.err()?.code()?.code().to_owned())
}

/// A database as the version before leaves it.
async fn version_before() -> Database {
    let database = Database::empty().await;
    let client = database.client().await;
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/base")).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let texts = files.iter().map(|file| read_to_string(file).unwrap());
    let base = texts.collect::<String>();
    client.batch_execute(LEDGER).await.unwrap();
    client.batch_execute(&base).await.unwrap();
    let applied = "INSERT INTO schema_migrations (version, checksum) VALUES ($1, sha256($2))";
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&SCHEMA_BEFORE, &base.as_bytes()];
    client.execute(applied, params).await.unwrap();
    database
}

fn settings(database: &Database) -> Settings {
    Settings::for_database(DatabaseUrl::parse(&database.url()).unwrap())
}

const LEDGER: &str = "CREATE TABLE schema_migrations (
    version    integer     NOT NULL PRIMARY KEY,
    checksum   bytea       NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT date_bin('2 seconds', clock_timestamp(), 'epoch'))";

/// A call of every function there is, with nothing in it, and its columns by name, as the relay
/// calls them.
const CALLS: &str = "
    SELECT format(
        'SELECT %s FROM %I(%s)',
        coalesce((SELECT string_agg(quote_ident(c.name), ', ' ORDER BY c.place)
                  FROM unnest(p.proargnames, p.proargmodes) WITH ORDINALITY AS c (name, mode, place)
                  WHERE c.mode IN ('o', 't')), '*'),
        p.proname,
        (SELECT string_agg('NULL::' || format_type(a.type, NULL), ', ' ORDER BY a.place)
         FROM unnest(p.proargtypes) WITH ORDINALITY AS a (type, place))) AS call
    FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND p.prorettype <> 'trigger'::regtype
    ORDER BY p.oid";

const PEOPLE: &str = "
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch)
    SELECT 'ab0' || n, 'did:plc:founder', 1, 0 FROM generate_series(1, 3) n;
    INSERT INTO members (convo_id, user_did, device_id, joined_seq, joined_message_seq)
    VALUES ('ab01', 'did:plc:alice', 'a', 0, 0), ('ab02', 'did:plc:bob', 'b', 0, 0),
           ('ab03', 'did:plc:carol', 'c', 0, 0);
    INSERT INTO devices (user_did, device_id, name, signature_key)
    VALUES ('did:plc:bob', 'b', 'phone', '\\x01'), ('did:plc:carol', 'c', 'phone', '\\x02'),
           ('did:plc:dave', 'd', 'phone', '\\x03')";

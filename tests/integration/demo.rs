//! The demo, as `make demo` plays it, against the relay that was just built: real
//! TLS, sockets, Postgres and MLS from end to end; and what the database knows of it
//! afterwards.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mls_relay_loadtest::demo::{LINES, Screen, Settings, play};

use crate::database::Database;
use crate::secrets::Secrets;
use crate::world::unhex;

async fn played(environment: Vec<(String, String)>) -> bool {
    let settings = Settings {
        relay: PathBuf::from(env!("CARGO_BIN_EXE_mls-relay")),
        pace: Duration::from_millis(10),
        environment,
    };
    play(&settings, &mut Screen::new(false)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_reads_what_they_may_and_nothing_else() {
    assert!(
        played(Vec::new()).await,
        "the account above says what went wrong"
    );
}

/// All rows of some tables as text, and after it what their bytes say.
fn dumped(database: &Database, tables: &[&str]) -> String {
    let output = Command::new(database.binary("pg_dump"))
        .args(["--data-only", "--no-owner"])
        .args(tables.iter().map(|table| format!("--table={table}")))
        .arg(format!("--dbname={}", database.url()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump failed: {said}");
    let text = String::from_utf8(output.stdout).unwrap();
    // COPY writes bytes as \\x and their hex digits.
    let bytes: Vec<String> = text
        .split("\\\\x")
        .skip(1)
        .map(|rest| {
            let digits = rest.find(|c: char| !c.is_ascii_hexdigit());
            let bytes = unhex(&rest[..digits.unwrap_or(rest.len()) / 2 * 2]);
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect();
    format!("{text}\n{}", bytes.join("\n"))
}

/// Where a sender could be read from. (The answers in `idempotency_keys` may name the
/// members of a conversation, as `members` does.)
const OF_MESSAGES: [&str; 3] = ["messages_*", "event_stream_*", "used_jti"];

#[tokio::test(flavor = "multi_thread")]
async fn the_database_knows_no_plaintext_no_sender_and_no_address() {
    let database = Database::start().await;
    let of_ours = ("DATABASE_URL".to_owned(), database.url());
    assert!(played(vec![of_ours]).await, "the demo went wrong");

    let mut private = Secrets::default();
    // A lone sign of four bytes may stand anywhere by chance.
    for line in LINES.iter().filter(|line| line.len() > 8) {
        private.add("a plaintext", line);
    }
    private.add("an address", "127.0.0.1");
    private.add("an address", "::ffff:127.0.0.1");
    let all = dumped(&database, &["*"]);
    assert!(
        all.len() > 500_000,
        "200 messages of 512 bytes are in it twice"
    );
    let found = private.found_in(&all);
    assert!(found.is_empty(), "the database holds {found:?}");
    let addresses = "SELECT count(*) FROM pg_attribute
        WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        AND atttypid IN ('inet'::regtype, 'cidr'::regtype, 'macaddr'::regtype)";
    let addresses = database.count(addresses).await;
    assert_eq!(addresses, 0, "a column is for addresses");

    // Members must know each other, so accounts are in the database; but no row of a
    // message, of its event or of a used token tells whose it is.
    let mut senders = Secrets::default();
    let members = "SELECT DISTINCT user_did, device_id FROM members";
    let members = database.client().await.query(members, &[]).await.unwrap();
    assert_eq!(
        members.len(),
        4,
        "Alice's device, both of Bob's, and Carol's"
    );
    for member in &members {
        senders.add("an account", member.get(0));
        senders.add("a device", member.get(1));
    }
    let others = "DELETE FROM event_stream WHERE kind <> 'message'";
    database.run(others).await;
    for table in OF_MESSAGES {
        let found = senders.found_in(&dumped(&database, &[table]));
        assert!(found.is_empty(), "{table} tells {found:?}");
    }
    assert!(
        !senders.found_in(&all).is_empty(),
        "they are somewhere else"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dump_shows_what_was_hidden_in_it() {
    let database = Database::start().await;
    database
        .run("CREATE TABLE hidden (how text, words text, bytes bytea)")
        .await;
    let mut secrets = Secrets::default();
    let plaintext = LINES[0];
    secrets.add("a plaintext", plaintext);
    assert!(secrets.found_in(&dumped(&database, &["*"])).is_empty());
    for (how, words, bytes) in [
        ("as it is", "$1", "NULL"),
        ("in base64", "encode('xy' || $1::bytea, 'base64')", "NULL"),
        ("in hex", "encode($1::bytea, 'hex')", "NULL"),
        ("as bytes", "NULL", "'\\x00'::bytea || $1::bytea"),
        (
            "as bytes of base64",
            "NULL",
            "encode($1::bytea, 'base64')::bytea",
        ),
    ] {
        let planted = format!("'{plaintext}'");
        let insert =
            format!("TRUNCATE hidden; INSERT INTO hidden VALUES ('{how}', {words}, {bytes})");
        database.run(&insert.replace("$1", &planted)).await;
        let found = secrets.found_in(&dumped(&database, &["*"]));
        assert!(!found.is_empty(), "{how}: not found");
    }
}

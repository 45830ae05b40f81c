//! `deploy/verify.sh` against a running relay: content with an honest one, and not
//! with one that keeps what it must not.

use std::path::Path;
use std::process::Command;

use crate::database::Database;
use crate::relay::{Home, Relay};
use crate::root;

/// The verdict on a relay and a log, and what was printed.
fn verify(relay: &Relay, database: &Database, log: &Path) -> (bool, String) {
    let output = Command::new(root().join("deploy/verify.sh"))
        // The certificate is for the name.
        .arg(format!("https://localhost:{}", relay.public.port()))
        .args([format!("http://{}", relay.admin), database.url()])
        .arg(log)
        .env("CACERT", relay.home().certificate())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_checks_pass_an_honest_relay_and_catch_one_that_is_not() {
    let database = Database::start().await;
    // What a release build does by itself.
    let relay = Home::on(&database.url()).with("RUST_LOG", "warn").start();
    let path = |name: &str| relay.home().path().join(name);

    let (content, said) = verify(&relay, &database, &path("errors.log"));
    assert!(content, "{said}");
    assert!(
        !said.contains("FAIL") && said.matches("pass  ").count() >= 20,
        "{said}"
    );

    database
        .run(
            "ALTER TABLE messages DROP CONSTRAINT messages_sender_did_check;
             INSERT INTO messages VALUES ('ab', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'app', 0,
                 decode(repeat('00', 512), 'hex'), 512, 512, coarse_now(), 'did:plc:someone');
             INSERT INTO opt_ins VALUES ('did:plc:someone', '2026-01-01 00:00:01Z')",
        )
        .await;
    let log = path("talkative");
    std::fs::write(
        &log,
        "INFO did:plc:someone asked ?cursor=01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
    )
    .unwrap();

    let (content, said) = verify(&relay, &database, &log);
    assert!(!content);
    for fault in [
        "FAIL  no message has a sender",
        "FAIL  and none can have: the constraint stands",
        "FAIL  no stored time is finer than 2 s",
        "FAIL  the log has nothing below warn",
        "FAIL  the log names no account",
        "FAIL  the log holds no cursor and no message id",
        "FAIL  the log holds no query string",
    ] {
        assert!(said.contains(fault), "{fault:?} is missing in:\n{said}");
    }
}

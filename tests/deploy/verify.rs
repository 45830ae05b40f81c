//! `deploy/verify.sh` against a running relay: content with an honest one, and not
//! with one that keeps what it must not.

#[path = "../support/database.rs"]
mod database;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use database::Database;

use crate::root;

/// A relay on free ports, and where it logs.
struct Relay {
    process: Child,
    public: String,
    admin: String,
    directory: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        // If it has ended already there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Relay {
    fn start(database: &Database) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_mls-relay"))
            .current_dir(directory.path())
            .env_clear()
            .env("DATABASE_URL", database.url())
            .env("RELAY_LISTEN", "127.0.0.1:0")
            .env("RELAY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("RELAY_CERTS_DIR", directory.path().join("certs"))
            // What a release build does by itself.
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = process.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let [.., public, "admin", admin] = words[..] else {
            panic!("not ready: {line:?}");
        };
        Self {
            // The certificate is for the name.
            public: public.replace("127.0.0.1", "localhost"),
            admin: admin.to_owned(),
            process,
            directory,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// The verdict, and what was printed.
    fn verify(&self, database: &Database, log: &Path) -> (bool, String) {
        let output = Command::new(root().join("deploy/verify.sh"))
            .args([&self.public, &self.admin, &database.url()])
            .arg(log)
            .env("CACERT", certificate(&self.path("certs")))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.success(), said)
    }
}

fn certificate(folder: &Path) -> std::path::PathBuf {
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .find(|path| {
            std::fs::read_to_string(path)
                .unwrap()
                .contains("BEGIN CERTIFICATE")
        })
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_checks_pass_an_honest_relay_and_catch_one_that_is_not() {
    let database = Database::start().await;
    let relay = Relay::start(&database);

    let (content, said) = relay.verify(&database, &relay.path("log"));
    assert!(content, "{said}");
    assert!(
        !said.contains("FAIL") && said.matches("pass  ").count() >= 20,
        "{said}"
    );

    let client = database.client().await;
    client
        .batch_execute(
            "ALTER TABLE messages DROP CONSTRAINT messages_sender_did_check;
             INSERT INTO messages VALUES ('ab', 1, '01ARZ3NDEKTSV4RRFFQ69G5FAV', 'app', 0,
                 decode(repeat('00', 512), 'hex'), 512, 512, coarse_now(), 'did:plc:someone');
             INSERT INTO opt_ins VALUES ('did:plc:someone', '2026-01-01 00:00:01Z')",
        )
        .await
        .unwrap();
    let log = relay.path("talkative");
    std::fs::write(
        &log,
        "INFO did:plc:someone asked ?cursor=01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
    )
    .unwrap();

    let (content, said) = relay.verify(&database, &log);
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

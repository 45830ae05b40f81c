//! A disk of Postgres without room: nothing that was acknowledged is lost, nobody hears anything
//! but to come back, and it all goes on by itself when there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use mls_relay_loadtest::mls::Group;
use serde_json::Value;
use tempfile::TempDir;

use crate::database::Database;
use crate::lexicon::Lexicons;
use crate::phone::Phone;
use crate::relay::{Home, Relay, eventually};
use crate::world::Client;

/// A disk of its own, which goes with the test.
struct Disk(TempDir);

impl Disk {
    /// None where nobody may mount one.
    fn new() -> Option<Self> {
        let disk = Self(TempDir::with_prefix("mlsr-disk").unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=160m,mode=755", "tmpfs"]);
        let is_mounted = mount.arg(disk.0.path()).status().ok()?.success();
        is_mounted.then_some(disk)
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        // In large pieces, then in small ones.
        for piece in [1 << 20, 4096] {
            while filler.write_all(&vec![0; piece]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Somebody who writes into a conversation, and knows what was acknowledged.
pub(crate) struct Writer {
    phone: Phone,
    group: Group,
    taken: Vec<String>,
    _directory: Directory,
}

impl Writer {
    /// Starts a relay that lets it write as fast as it can.
    pub(crate) async fn at(home: Home) -> (Relay, Self) {
        let directory = Directory::start().await.unwrap();
        let relay = home
            .knowing(&directory)
            .with("LIMITS_EXEMPT", "127.0.0.0/8")
            .with("RATE_LIMIT_SEND_MESSAGE", "60000")
            .start();
        let client = Client {
            account: Arc::new(directory.account(Curve::Secp256k1).unwrap()),
            relay: relay.reach(),
            lexicons: Arc::new(Lexicons::load()),
        };
        let phone = Phone::of(&client).await;
        let group = phone.found(&[]).await;
        let writer = Self {
            phone,
            group,
            taken: Vec::new(),
            _directory: directory,
        };
        (relay, writer)
    }

    /// Sends one message. Whether it was taken; else it must have been asked to come back.
    pub(crate) async fn send(&mut self) -> bool {
        let message = self.phone.message(&mut self.group, &[7; 6000]);
        let request = self.phone.post_request("sendMessage", &message);
        let (status, headers, answer) = self.phone.exchange(request).await;
        if status == StatusCode::OK {
            self.taken
                .push(message["msgId"].as_str().unwrap().to_owned());
            return true;
        }
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        assert!(headers.contains_key("retry-after"), "{headers:?}");
        false
    }

    pub(crate) async fn send_until(&mut self, is_taken: bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.send().await != is_taken {
            assert!(Instant::now() < deadline, "still not: taken {is_taken}");
        }
    }

    /// Everything that was acknowledged is there.
    async fn finds_all(&self, database: &Database) {
        let held: Vec<String> = database.all("SELECT msg_id FROM messages", &[]).await;
        for id in &self.taken {
            assert!(held.contains(id), "{id} was acknowledged and is gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_costs_nothing_that_was_acknowledged_and_its_end_is_noticed() {
    let Some(disk) = Disk::new() else {
        eprintln!("skipped: only root may mount a disk of its own");
        return;
    };
    let settings = ["max_wal_size=48MB", "min_wal_size=32MB"];
    let mut database = Database::within(disk.0.path(), &settings).await;
    let (relay, mut writer) = Writer::at(Home::on(&database.url())).await;
    for _ in 0..10 {
        writer.send_until(true).await;
    }

    // Tables cannot grow.
    disk.fill();
    writer.send_until(false).await;
    for _ in 0..20 {
        writer.send().await;
    }
    let is_told = |ready: bool, checks: &Value| {
        let database = &checks["database"];
        let told = database["cause"].as_str().unwrap_or_default();
        ready && database["ok"] == true && told.contains("no room")
    };
    let what = "it is told, and the node stays in service";
    relay.health_until(what, is_told).await;
    let counted = "relay_store_errors_total{kind=\"disk_full\"}";
    assert!(relay.figure(counted).await > Some(0));
    disk.make_room();
    writer.send_until(true).await;
    writer.finds_all(&database).await;

    // Nor can the log of what is written, without which Postgres itself gives up.
    disk.fill();
    let admin = database.client().await;
    for _ in 0..8 {
        if admin.execute("SELECT pg_switch_wal()", &[]).await.is_err() {
            break;
        }
        writer.send().await;
    }
    writer.send_until(false).await;
    disk.make_room();
    if tokio_postgres::connect(&database.url(), tokio_postgres::NoTls)
        .await
        .is_err()
    {
        // It does not start again by itself without room.
        eprintln!("Postgres gave up");
        database.up().await;
    }
    writer.send_until(true).await;
    eventually("it is well again", || relay.is_ready()).await;
    writer.finds_all(&database).await;
    assert!(writer.taken.len() > 10);
}

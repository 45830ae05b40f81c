//! The process and its private Postgres: started, stopped, killed, started again.

use std::cell::OnceCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Pid, Signal, kill_process};

use crate::database::PostgresTools;
use crate::relay::{Home, Relay, eventually, is_alive};

#[tokio::test]
async fn sigterm_stops_the_relay_and_its_postgres() {
    let mut relay = Relay::start();
    let postgres = relay.home().postgres().unwrap();
    assert!(relay.is_ready().await);
    relay.leave();
    // Ended and waited for: Postgres' own file is gone with it.
    assert!(!is_alive(postgres));
    assert_eq!(relay.home().postgres(), None);
}

#[tokio::test]
async fn ctrl_c_stops_both_too() {
    let mut relay = Relay::start();
    relay.signal(Signal::INT);
    assert_eq!(relay.ended().code(), Some(0), "{}", relay.log());
    assert_eq!(relay.home().postgres(), None);
}

#[tokio::test]
async fn a_relay_whose_terminal_closes_ends_and_does_not_take_it_for_a_wish_to_reload() {
    let home = Home::lived_in();
    let relay = home.command(&["serve"]);
    let program = relay.get_program().to_str().unwrap();
    // A terminal of its own, which closes when `script` dies.
    let mut terminal = Command::new("script")
        .args([
            "--quiet",
            "--command",
            &format!("{program} serve"),
            "/dev/null",
        ])
        .current_dir(home.path())
        .env_clear()
        .envs(
            relay
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(terminal.stdout.take().unwrap());
    let mut lines = said.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("mls-relay is ready")));
    let postgres = home.postgres().unwrap();
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    eventually("the relay's Postgres ends", || async {
        !is_alive(postgres)
    })
    .await;
}

#[tokio::test]
async fn a_file_that_does_not_come_to_its_end_keeps_no_relay_from_ending() {
    let mut relay = Relay::start();
    // As a file does on a network that hangs.
    let path = relay.home().path().join("relay.toml");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    relay.signal(Signal::HUP);
    let end = OnceCell::new();
    eventually("it reads the file", || async {
        let opened = open(&path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty());
        opened.is_ok_and(|opened| end.set(opened).is_ok())
    })
    .await;
    relay.leave();
}

#[tokio::test]
async fn a_killed_relay_takes_its_postgres_along() {
    let mut relay = Relay::start();
    let postgres = relay.home().postgres().unwrap();
    relay.signal(Signal::KILL);
    relay.ended();
    eventually("Postgres ends", || async { !is_alive(postgres) }).await;
}

#[tokio::test]
async fn a_relay_that_is_killed_while_its_postgres_starts_takes_it_along() {
    let home = Home::lived_in();
    // As deaf as any program is in its first moments, only longer.
    let real = PostgresTools::find().bin;
    let bin = home.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(real.join("initdb"), bin.join("initdb")).unwrap();
    let deaf = format!(
        "#!/bin/sh\n[ \"$1\" = -D ] || exec {0}/postgres \"$@\"\n\
         trap '' INT; echo $$ >\"$2/begun\"; sleep 1; exec {0}/postgres \"$@\"\n",
        real.display()
    );
    fs::write(bin.join("postgres"), deaf).unwrap();
    fs::set_permissions(bin.join("postgres"), fs::Permissions::from_mode(0o755)).unwrap();
    let home = home.with("RELAY_PG_BIN", bin.to_str().unwrap());
    let mut relay = home
        .command(&["serve"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = home.path().join(".relay/postgres/cluster/begun");
    let process = || Pid::from_raw(fs::read_to_string(&begun).ok()?.trim().parse().ok()?);
    eventually("Postgres begins", async || process().is_some()).await;
    relay.kill().unwrap();
    relay.wait().unwrap();
    let postgres = process().unwrap();
    eventually("Postgres ends", async || !is_alive(postgres)).await;
}

#[tokio::test]
async fn after_a_kill_the_next_start_works_at_once_with_the_data_kept() {
    let home = Home::lived_in();
    let mut first = home.start();
    let version = schema_version(&home).await;
    first.signal(Signal::KILL);
    first.ended();
    // Postgres may still be on its way down: the start sees to that.
    let second = home.start();
    assert!(second.is_ready().await);
    assert_eq!(schema_version(&home).await, version);
}

#[tokio::test]
async fn after_a_kill_of_both_the_next_start_recovers() {
    let home = Home::lived_in();
    let mut first = home.start();
    let postgres = home.postgres().unwrap();
    first.signal(Signal::KILL);
    kill_process(postgres, Signal::KILL).unwrap();
    first.ended();
    let second = home.start();
    assert!(second.is_ready().await);
}

#[tokio::test]
async fn a_postgres_that_dies_is_started_again_and_the_relay_says_unavailable_meanwhile() {
    let relay = Relay::start();
    let postgres = relay.home().postgres().unwrap();
    kill_process(postgres, Signal::KILL).unwrap();
    // The outage may be over before we have asked once.
    eventually("not ready, or another Postgres", || async {
        !relay.is_ready().await || relay.home().postgres().is_some_and(|now| now != postgres)
    })
    .await;
    assert_eq!(relay.ask_admin("/health/live").await.0, StatusCode::OK);
    eventually("ready again", || relay.is_ready()).await;
    eventually("a restart that is counted", || async {
        relay.figure("relay_postgres_restarts_total").await == Some(1)
    })
    .await;
    assert_ne!(relay.home().postgres(), Some(postgres));
}

#[tokio::test]
async fn a_second_relay_on_the_same_data_is_refused_and_harms_nothing() {
    let relay = Relay::start();
    let said = relay.home().refusal(69);
    for words in ["another mls-relay (process ", "RELAY_DATA_DIR"] {
        assert!(said.contains(words), "{said}");
    }
    assert!(relay.is_ready().await);
}

#[test]
fn a_taken_port_is_said_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (key, variable) in [
        ("edge.listen", "RELAY_LISTEN"),
        ("edge.admin_listen", "RELAY_ADMIN_LISTEN"),
        ("edge.plain_listen", "RELAY_PLAIN_LISTEN"),
    ] {
        let home = Home::new()
            .with("TRUSTED_PROXIES", "127.0.0.0/8")
            .with(variable, &address);
        let said = home.refusal(69);
        let why =
            format!("cannot listen on {address}, which {key} ({variable}) names: it is taken");
        assert!(said.contains(&why), "{said}");
        assert!(!home.path().join(".relay").exists());
    }
}

#[test]
fn authorities_that_cannot_be_used_are_said_before_anything_is_started() {
    let home = Home::new().with("TLS_CLIENT_CA", "nowhere.pem");
    let said = home.refusal(69);
    let why = "tls.client_ca (TLS_CLIENT_CA) cannot be used\n  because: cannot read nowhere.pem";
    assert!(said.contains(why), "{said}");
    assert!(!home.path().join(".relay").exists());
}

#[tokio::test]
async fn a_service_manager_is_told_of_a_relay_that_serves_and_not_of_one_that_is_refused() {
    let home = Home::lived_in();
    let path = home.path().join("notify");
    // Of the other kind only the kernel knows.
    let name = format!("mls-relay-{}", std::process::id());
    let unseen = SocketAddr::from_abstract_name(&name).unwrap();
    for (socket, manager) in [
        (path.display().to_string(), UnixDatagram::bind(&path)),
        (format!("@{name}"), UnixDatagram::bind_addr(&unseen)),
    ] {
        let manager = manager.unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut said = [0; 64];
        let home = home.clone().with("NOTIFY_SOCKET", &socket);
        home.clone()
            .with("TLS_CLIENT_CA", "nowhere.pem")
            .refusal(69);
        assert!(manager.recv(&mut said).is_err());
        let mut relay = home.start();
        let len = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..len], b"READY=1");
        assert!(relay.is_ready().await);
        relay.leave();
    }
}

#[tokio::test]
async fn data_in_a_deep_directory_works_although_sockets_have_short_paths() {
    let home = Home::new().with("RELAY_DATA_DIR", &"deep/".repeat(30));
    let relay = home.start();
    assert!(relay.is_ready().await);
}

#[test]
fn a_start_waits_for_postgres_no_longer_than_the_operator_says() {
    let home = Home::new()
        .with("DATABASE_URL", "host=/nowhere user=relay dbname=relay")
        .with("RELAY_PG_START_TIMEOUT_SECONDS", "1");
    let begun = Instant::now();
    let said = home.refusal(69);
    assert!(said.contains("waiting for the database"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn migrate_prepares_the_database_and_ends() {
    let home = Home::new().with("DATABASE_ULR", "postgres://relay@db/relay");
    for _ in 0..2 {
        let output = home.command(&["migrate"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(output.stdout, b"the database's schema is up to date\n");
        // It was meant for another.
        let said = String::from_utf8(output.stderr).unwrap();
        for words in ["did you mean DATABASE_URL?", "a private Postgres keeps"] {
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(home.postgres(), None);
    }
}

#[tokio::test]
async fn health_tells_each_cause_and_the_lag_of_notifications() {
    let relay = Relay::start();
    eventually("notifications come", || async {
        let (_, report) = relay.health().await;
        let checks = report["checks"].as_object().unwrap();
        checks.values().all(|check| check["ok"] == true)
            && checks["events"]["lagMs"].is_u64()
            && checks["events"].get("cause").is_none()
            && checks["pool"]["open"].as_u64().is_some_and(|open| open > 0)
            && checks["schema"]["version"]
                .as_u64()
                .is_some_and(|version| version > 0)
    })
    .await;
    let (_, report) = relay.health().await;
    let checks = report["checks"].as_object().unwrap();
    let own = ["clock", "config", "drain", "retention", "sends"];
    let of_postgres = ["database", "events", "pool", "schema"];
    for name in own.into_iter().chain(of_postgres) {
        assert!(checks.contains_key(name), "{name} is not in {report}");
    }
    // A start is no outage: the first canary waits for the listener.
    let log = relay.log();
    assert!(!log.contains("transaction pooler"), "{log}");
    let late = relay.figure("relay_events_canaries_late_total").await;
    assert_eq!(late, None);
}

#[tokio::test]
async fn a_newer_schema_keeps_a_start_out_of_service_and_leaves_alone_what_runs() {
    let home = Home::lived_in();
    let mut running = home.start();
    let newest = schema_version(&home).await;
    let client = database(&home).await;
    let sql = "INSERT INTO schema_migrations (version, checksum) VALUES ($1, 'newer')";
    client.execute(sql, &[&(newest + 1)]).await.unwrap();
    // As during a rolling deploy: the version before serves on, and says what it sees.
    eventually("it notices", || async {
        running
            .ask_admin("/health")
            .await
            .1
            .contains("finish the upgrade")
    })
    .await;
    assert!(running.is_ready().await);
    drop(client);
    running.leave();

    let said = home.refusal(69);
    assert!(said.contains("is newer than this release"), "{said}");
}

/// The newest migration that the database knows.
#[tokio::test]
async fn the_private_postgres_takes_as_many_connections_as_the_relay_may_open() {
    let home = Home::lived_in().with("DATABASE_CONNECTIONS_MAX", "150");
    let relay = home.start();
    let most = "SELECT current_setting('max_connections')::integer
        - current_setting('superuser_reserved_connections')::integer";
    let most = database(relay.home()).await.query_one(most, &[]).await;
    let most: i32 = most.unwrap().get(0);
    assert!(most > 150, "{most}");
}

async fn schema_version(home: &Home) -> i32 {
    let row = database(home)
        .await
        .query_one("SELECT max(version) FROM schema_migrations", &[])
        .await
        .unwrap();
    row.get(0)
}

/// A connection to the private Postgres.
async fn database(home: &Home) -> tokio_postgres::Client {
    let host = home.path().join(".relay/postgres/run");
    let url = format!("host={} user=relay dbname=relay", host.display());
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

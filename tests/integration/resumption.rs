//! Sessions that begin on one node are resumed on any, under keys that nodes share.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mls_relay::store::Store;
use mls_relay::tls::TicketKeys;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::database::Database;
use crate::fault::Fault;
use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, ask};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begun_on_one_node_is_resumed_on_another() {
    let (database, elsewhere) = (Database::start().await, Database::start().await);
    let authority = Authority::new();
    let pair = authority.issue(&["localhost"]);
    let node = |database: &Database| {
        let home = Home::on(&database.url())
            .with("TLS_CERT", "cert.pem")
            .with("TLS_KEY", "key.pem");
        fs::write(home.path().join("cert.pem"), &pair.0).unwrap();
        fs::write(home.path().join("key.pem"), &pair.1).unwrap();
        home.start()
    };
    let (first, second, foreign) = (node(&database), node(&database), node(&elsewhere));
    let bundle = first.home().path().join("authority.pem");
    fs::write(&bundle, authority.pem()).unwrap();
    for version in [&TLS12, &TLS13] {
        let client = Client::new(&bundle, &[version], &["http/1.1"]);
        for (node, is_resumed) in [(&first, false), (&second, true), (&first, true)] {
            assert_eq!(resumes(&client, node).await, is_resumed, "{version:?}");
        }
        // Nodes of another database share nothing with these.
        assert!(!resumes(&client, &foreign).await);
    }
    let (_, metrics) = second.ask_admin("/metrics").await;
    for (kind, times) in [("resumed", 2), ("full", 0)] {
        let counted = format!("relay_edge_handshake_seconds_count{{kind=\"{kind}\"}} {times}\n");
        assert!(metrics.contains(&counted), "{metrics}");
    }
    assert!(metrics.contains("relay_tls_ticket_key_in_force 1\n"));
}

/// On one thread, which has the recorder that panics.
#[tokio::test]
async fn a_panic_does_not_end_the_keeping_of_ticket_keys() {
    let (database, store, shutdown) = Database::with_store().await;
    // The first look is the start's.
    let fault = Fault::at([("relay_tls_ticket_key_in_force".to_owned(), 2)]);
    let _panicking = metrics::set_default_local_recorder(&fault);
    let rotation = Duration::from_secs(2);
    let _keys = TicketKeys::share(rotation, store, &shutdown).await.unwrap();
    let newest = async || -> i64 {
        let newest = "SELECT max(begins) FROM tls_ticket_keys";
        database.one(newest, &[]).await
    };
    let first = newest().await;
    eventually("the next keys are made", async || newest().await > first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ticket_keys_are_made_once_for_all_nodes_and_deleted_when_they_are_over() {
    let database = Database::start().await;
    let ((here, _here), (there, _there)) = (database.store().await, database.store().await);
    let sorted = |mut keys: Vec<(u64, [u8; 32])>| {
        keys.sort_unstable();
        keys
    };
    let life = Duration::from_secs(3 * HOUR);
    let keys = async |store: &Store, current| {
        let keys = store.ticket_keys([current, current + HOUR], life).await;
        sorted(keys.unwrap())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let names = |keys: &[(u64, [u8; 32])]| keys.iter().map(|key| key.0).collect::<Vec<_>>();
    let first = keys(&here, now - 2 * HOUR).await;
    assert_eq!(names(&first), [now - 2 * HOUR, now - HOUR]);
    assert_ne!(first[0].1, first[1].1);
    assert_eq!(keys(&there, now - 2 * HOUR).await, first);
    // A node whose clock is days ahead takes nothing from the others.
    let ahead = keys(&there, now + 100 * HOUR).await;
    assert_eq!(ahead[..2], first);
    // Those that are over go, by Postgres' clock.
    let late = keys(&here, now - 4 * HOUR).await;
    assert_eq!(late, ahead);
}

const HOUR: u64 = 3600;

/// Whether a connection goes on from the one before.
async fn resumes(client: &Client, node: &Relay) -> bool {
    let mut stream = client.connect(node).await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    // With TLS 1.3 the ticket comes with the first answer.
    ask(&mut stream).await.unwrap();
    kind == Some(HandshakeKind::Resumed)
}

//! Certificates from an ACME directory, with Pebble as the directory: it really asks the
//! relay for its proof, over TLS.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::version::TLS13;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::database::Database;
use crate::pebble::Pebble;
use crate::relay::{Home, Relay, eventually, free_address};
use crate::tls;
use crate::tls::{Client, ask, leaf};

const NAME: &str = "relay.example.com";
const DAY: Duration = Duration::from_secs(86_400);

fn home(pebble: &Pebble) -> Home {
    Home::lived_in()
        .with("ACME_DOMAINS", NAME)
        .with("ACME_DIRECTORY", &pebble.directory())
        .with("ACME_CA_FILE", &pebble.authority_file())
        .with("ACME_RETRY_SECONDS", "1")
        .with("TLS_LOOK_SECONDS", "1")
}

async fn orders(relay: &Relay, outcome: &str) -> u64 {
    let name = format!("relay_acme_orders_total{{outcome=\"{outcome}\"}}");
    relay.figure(&name).await.unwrap_or(0)
}

/// Waits until a client that trusts the directory trusts the relay.
async fn until_trusted(client: &Client, relay: &Relay, pebble: &Pebble) -> tls::Stream {
    eventually("the certificate is served", || async {
        let trusted = client.connect_to(relay.public, NAME).await.is_ok();
        if !trusted && orders(relay, "failed").await > 4 {
            panic!("{}\n{}", relay.log(), pebble.log());
        }
        trusted
    })
    .await;
    client.connect_to(relay.public, NAME).await.unwrap()
}

async fn certificates_are_well(relay: &Relay) -> bool {
    relay.health().await.1["checks"]["certificates"]["ok"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_all_it_takes_and_a_restart_asks_for_nothing() {
    let address = free_address();
    let pebble = Pebble::start(address, 90 * DAY).await;
    let home = home(&pebble).with("RELAY_LISTEN", &address.to_string());
    let relay = home.start();
    let client = pebble.customer().await;
    let mut stream = until_trusted(&client, &relay, &pebble).await;
    assert!(ask(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
    let issued = leaf(&stream);
    assert!(certificates_are_well(&relay).await);
    // Who pretends to be the directory when nothing is to be proved learns nothing.
    let bundle = std::path::PathBuf::from(pebble.authority_file());
    let stranger = Client::new(&bundle, &[&TLS13], &["acme-tls/1"]);
    assert!(stranger.connect_to(relay.public, NAME).await.is_err());
    drop((stream, relay));

    let relay = home.start();
    let stream = until_trusted(&client, &relay, &pebble).await;
    assert_eq!(leaf(&stream), issued, "the nodes' database kept it");
    assert_eq!(orders(&relay, "issued").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_renewed_before_its_end_even_after_failures_and_no_connection_ends() {
    let address = free_address();
    let mut pebble = Pebble::start(address, Duration::from_secs(45)).await;
    let relay = home(&pebble)
        .with("RELAY_LISTEN", &address.to_string())
        .start();
    let client = pebble.customer().await;
    let mut open = until_trusted(&client, &relay, &pebble).await;
    let first = leaf(&open);
    ask(&mut open).await.unwrap();
    // The directory is away when the time comes, and has forgotten us when it is back.
    pebble.end();
    eventually("an order fails", || async {
        orders(&relay, "failed").await > 0
    })
    .await;
    let served = client.connect_to(relay.public, NAME).await.unwrap();
    assert_eq!(leaf(&served), first, "what is in force stays");
    pebble.begin().await;
    let client = pebble.customer().await;
    let renewed = until_trusted(&client, &relay, &pebble).await;
    assert_ne!(leaf(&renewed), first);
    let answer = ask(&mut open).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    relay.says("no certificate was issued");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_orders_another_proves_and_both_serve() {
    let database = Database::start().await;
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pebble = Pebble::start(door.local_addr().unwrap(), 90 * DAY).await;
    let home = || home(&pebble).with("DATABASE_URL", &database.url());
    let prover = lead_to_later(door);
    // The first one orders at once; whoever the directory asks is the second.
    let orderer = home().start();
    let answerer = home().start();
    let client = pebble.customer().await;
    // Nothing is proved yet, so there is nothing to serve; and that is seen.
    assert!(client.connect_to(answerer.public, NAME).await.is_err());
    assert!(!certificates_are_well(&answerer).await);
    prover.send(Some(answerer.public)).unwrap();
    let streams = [
        until_trusted(&client, &orderer, &pebble).await,
        until_trusted(&client, &answerer, &pebble).await,
    ];
    assert_eq!(leaf(&streams[0]), leaf(&streams[1]));
    let issued = [
        orders(&orderer, "issued").await,
        orders(&answerer, "issued").await,
    ];
    assert_eq!(issued, [1, 0], "one certificate for all nodes");
    let answered = "relay_acme_challenges_total{outcome=\"answered\"}";
    assert!(answerer.figure(answered).await > Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_no_node_orders_before_the_wait_is_over() {
    let database = Database::start().await;
    let ((here, _here), (there, _there)) = (database.store().await, database.store().await);
    let (directory, hour) = ("https://acme.test/dir", Duration::from_secs(3600));
    assert!(here.take_acme_turn(directory, hour).await.unwrap());
    assert!(!there.take_acme_turn(directory, hour).await.unwrap());
    // Another directory has its own turns.
    let other = "https://other.test/dir";
    assert!(there.take_acme_turn(other, hour).await.unwrap());
    here.fail_acme_turn(directory, hour).await.unwrap();
    for node in [&here, &there] {
        assert!(!node.take_acme_turn(directory, hour).await.unwrap());
        assert_eq!(node.acme_record(directory).await.unwrap().failures, 1);
    }
    here.fail_acme_turn(directory, Duration::ZERO)
        .await
        .unwrap();
    assert!(there.take_acme_turn(directory, hour).await.unwrap());
    // Nor does it wait for what a clock has said that ran ahead and was set right since.
    here.fail_acme_turn(directory, DAY / 2).await.unwrap();
    assert!(!there.take_acme_turn(directory, hour).await.unwrap());
    let ahead = "UPDATE acme SET turn_until = coarse_now() + '40 days'::interval";
    database.run(ahead).await;
    assert!(there.take_acme_turn(directory, hour).await.unwrap());
    there.keep_acme_certificate(directory, "pem").await.unwrap();
    let record = here.acme_record(directory).await.unwrap();
    assert_eq!(
        (record.certificate.as_deref(), record.failures),
        (Some("pem"), 0)
    );
}

/// A balancer that lets whoever connects wait until it knows where to.
fn lead_to_later(door: TcpListener) -> watch::Sender<Option<SocketAddr>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = door.accept().await {
            let mut receiver = receiver.clone();
            tokio::spawn(async move {
                let to = *receiver.wait_for(Option::is_some).await.unwrap();
                let mut to = TcpStream::connect(to.unwrap()).await.unwrap();
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    sender
}

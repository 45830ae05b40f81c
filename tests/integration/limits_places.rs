//! Places of a node that a few addresses cannot take from all others.

use std::net::Ipv4Addr;

use tokio::net::{TcpSocket, TcpStream};

use crate::relay::{Home, Relay, eventually};
use crate::tls::{Client, ask};

const PLACES: u64 = 200;

/// How many of them ten addresses can have, one after the other.
const HELD: u64 = 164;

/// A connection from one of many addresses of this machine.
async fn connect(relay: &Relay, host: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 0, 0, host), 0).into())
        .unwrap();
    socket.connect(relay.public).await.unwrap()
}

#[tokio::test]
async fn newcomers_find_places_while_a_few_addresses_hold_all_they_can() {
    let relay = Home::lived_in()
        .with("CONNECTIONS_TOTAL", &PLACES.to_string())
        .with("RELAY_HANDSHAKE_TIMEOUT_SECONDS", "60")
        .start();
    // They come one after the other, each with half of all.
    let mut greedy = Vec::new();
    for host in 2..12 {
        for _ in 0..PLACES / 2 {
            greedy.push(connect(&relay, host).await);
        }
    }
    eventually("all of them have been judged", async || {
        relay.figure("relay_edge_connections_total").await == Some(5 * PLACES)
    })
    .await;
    let client = Client::http1(&relay);
    let mut newcomers = Vec::new();
    for host in 100..120 {
        let stream = connect(&relay, host).await;
        let mut stream = client.over(stream, "localhost").await.unwrap();
        let answer = ask(&mut stream).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        newcomers.push(stream);
    }
    // Ten who take half of what is free leave a sixth, and nothing of theirs was cut.
    eventually("nobody made way for them", async || {
        relay
            .figure("relay_limits_open{rule=\"connections_total\"}")
            .await
            == Some(HELD + 20)
    })
    .await;
    let (_, metrics) = relay.ask_admin("/metrics").await;
    let counted = "relay_limits_refused_total{rule=\"connections_share\",outcome=\"refused\"} 836";
    assert!(metrics.contains(counted), "{metrics}");
    assert!(
        !metrics.contains("relay_limits_penalties_total"),
        "{metrics}"
    );
}

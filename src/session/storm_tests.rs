//! Sessions under threads of their own, each woken by its client, by changed settings and by
//! events at once, while the hub writes to those that sleep.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::Settings;
use super::tests::{Client, World};
use crate::limits::{self, Clock, Limits};
use crate::runtime::Live;
use crate::wire::Framing;

/// The numbers of the messages that a client hears up to this one. It speaks meanwhile.
async fn heard(mut client: Client, last: u64) -> Vec<u64> {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        let message = timeout(Duration::from_secs(20), client.next()).await;
        match message.expect("the next comes").unwrap().unwrap() {
            Message::Text(text) => {
                let said: serde_json::Value = serde_json::from_str(&text).unwrap();
                if said["t"] == "#messageEvent" {
                    heard.push(said["body"]["seq"].as_u64().unwrap());
                }
                if heard.len() % 50 == 1 {
                    client.send(Message::Ping("x".into())).await.unwrap();
                }
            }
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("not expected: {other:?}"),
        }
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_client_hears_all_in_order_whatever_else_wakes_its_session() {
    let mut world = World::new();
    let mut limits = limits::Settings::default();
    (limits.sockets.control_frames, limits.sockets.bytes) = (u16::MAX, u32::MAX);
    world.limits = Limits::new(Live::new(limits), Clock::system());
    // Some take little at once.
    let mut clients = Vec::new();
    for pipe_len in [1 << 16, 1 << 16, 2_000, 300] {
        world.pipe_len = pipe_len;
        let (client, _) = world.connect(Framing::Json, Some(1)).await;
        clients.push(tokio::spawn(heard(client, LAST)));
    }
    for seq in 2..=LAST {
        assert_eq!(world.memory.send("aa"), seq);
        if seq % 8 == 0 {
            tokio::task::yield_now().await;
        }
        if seq % 64 == 0 {
            world.shared.settings.replace(Settings::default());
        }
    }
    for client in clients {
        assert!(client.await.unwrap().into_iter().eq(2..=LAST));
    }
}

const LAST: u64 = 4_000;

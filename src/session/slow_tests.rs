//! Clients on slow networks, those that take nothing any more, and how they are told apart.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::Settings;
use super::line::Line;
use super::socket::Socket;
use super::tests::{BOB, World, next, text};
use crate::events;
use crate::types::{ClientIp, Did};
use crate::wire::Framing;

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_cut_off_and_costs_nobody_else() {
    let mut world = World::with(events::Settings {
        outbox_bytes_max: 10_000,
        ..events::Settings::default()
    });
    world.pipe_len = 1_000;
    let (mut stuck, cut_off) = world.connect(Framing::Json, None).await;
    let mut other = world.connect_json().await;
    let begun = Instant::now();
    let sending = async {
        for seq in 2..=2_000 {
            world.memory.send("aa");
            assert!(text(&mut other).await.contains(&format!("\"seq\":{seq},")));
        }
    };
    sending.await;
    assert!(begun.elapsed() < world.settings().write_timeout);
    cut_off.await.unwrap();
    assert!(begun.elapsed() >= world.settings().write_timeout);
    // What it had not read yet are whole frames, and then the connection ends.
    while let Some(Ok(message)) = stuck.next().await {
        assert!(message.is_text());
    }
}

#[tokio::test(start_paused = true)]
async fn patience_that_becomes_less_counts_for_a_write_that_waits() {
    let mut world = World::new();
    world.pipe_len = 1_000;
    for _ in 0..100 {
        world.memory.send("aa");
    }
    let (_stuck, cut_off) = world.connect(Framing::Json, Some(0)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    world.shared.settings.replace(Settings {
        write_timeout: Duration::from_secs(10),
        ..Settings::default()
    });
    cut_off.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_makes_way_when_the_account_wants_a_place() {
    let mut world = World::new();
    world.pipe_len = 1_000;
    for _ in 0..100 {
        world.memory.send("aa");
    }
    let mut stuck = Vec::new();
    // Five at a time for one account.
    for _ in 0..5 {
        stuck.push(world.connect(Framing::Json, Some(0)).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let address = ClientIp::new("192.0.2.1".parse().unwrap());
    let refused = world
        .limits
        .admit_socket(address, &Did::parse(BOB).unwrap());
    assert!(refused.is_err());
    for (_client, made_way) in stuck {
        made_way.await.unwrap();
    }
    // Whoever was refused comes back no sooner.
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_client_on_a_slow_network_gets_a_long_replay() {
    let mut world = World::new();
    world.pipe_len = 1 << 10;
    // What is written at once takes longer than this.
    world.shared.settings.replace(Settings {
        write_timeout: Duration::from_secs(2),
        ..Settings::default()
    });
    for _ in 0..500 {
        world.memory.send("aa");
    }
    let (mut client, _) = world.connect(Framing::Json, Some(0)).await;
    let mut heard = String::new();
    while !heard.contains("#synced") {
        // 1 KiB a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut piece = [0; 1 << 10];
        let len = client.get_mut().read(&mut piece).await.unwrap();
        assert_ne!(len, 0, "cut off after {} bytes", heard.len());
        heard.push_str(&String::from_utf8_lossy(&piece[..len]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_a_long_frame_for_long_is_not_called_silent_for_it() {
    let mut world = World::new();
    world.pipe_len = 1 << 10;
    for convo in 0..2_000 {
        world.memory.join(BOB, &format!("{convo:032x}"));
    }
    let (mut client, _) = world.connect(Framing::Json, None).await;
    let begun = Instant::now();
    let mut heard = Vec::new();
    while !heard.ends_with(b"}]}}") {
        // 1 KiB a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut piece = [0; 1 << 10];
        let len = client.get_mut().read(&mut piece).await.unwrap();
        assert_ne!(len, 0, "cut off after {} bytes", heard.len());
        heard.extend_from_slice(&piece[..len]);
    }
    assert!(begun.elapsed() > world.settings().silence_max);
    // It could not be asked before.
    assert!(matches!(next(&mut client).await, Message::Ping(_)));
    world.memory.send("aa");
    assert!(text(&mut client).await.contains("#messageEvent"));
}

/// What it waits for beside its write is asked again after it.
#[tokio::test(start_paused = true)]
async fn who_took_all_in_time_when_a_place_was_wanted_is_given_up_when_it_falls_silent() {
    let mut world = World::new();
    world.pipe_len = 1_000;
    for _ in 0..100 {
        world.memory.send("aa");
    }
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(world.connect(Framing::Json, Some(0)).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let address = ClientIp::new("192.0.2.1".parse().unwrap());
    let refused = world
        .limits
        .admit_socket(address, &Did::parse(BOB).unwrap());
    assert!(refused.is_err());
    for (client, _) in &mut slow {
        while !text(client).await.contains("#synced") {}
    }
    let most = world.settings().silence_max + world.settings().ping_after;
    for (_client, given_up) in slow {
        let given_up = tokio::time::timeout(most, given_up).await;
        given_up.expect("nobody answers").unwrap();
    }
}

/// However often its next one asks, and whatever it took before it was lost.
#[tokio::test(start_paused = true)]
async fn a_phone_that_was_lost_makes_way_for_its_next_one_that_asks_again_and_again() {
    let mut world = World::new();
    world.pipe_len = 1_000;
    for _ in 0..100 {
        world.memory.send("aa");
    }
    let mut lost = Vec::new();
    for _ in 0..5 {
        let (mut client, _) = world.connect(Framing::Json, Some(0)).await;
        while !text(&mut client).await.contains("#synced") {}
        lost.push(client);
    }
    let (begun, did) = (Instant::now(), Did::parse(BOB).unwrap());
    let address = ClientIp::new("192.0.2.1".parse().unwrap());
    while world.limits.admit_socket(address, &did).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_hub_could_write_half_of_a_frame_the_rest_follows_before_all_else() {
    let mut world = World::new();
    world.pipe_len = 100;
    let mut client = world.connect_json().await;
    // It sleeps, and has lent its line to the hub, which writes what fits.
    for _ in 2..=4 {
        world.memory.send("aa");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    for seq in 2..=4 {
        let heard = text(&mut client).await;
        assert!(heard.contains(&format!("\"seq\":{seq},")), "{heard}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_half_written_of_a_pong_is_written_to_its_end_before_an_event() {
    let mut world = World::new();
    world.pipe_len = 200;
    let mut client = world.connect_json().await;
    // The second one finds half of the room that it needs.
    for asked in [[1; 125], [2; 125]] {
        let ping = Message::Ping(bytes::Bytes::copy_from_slice(&asked));
        client.send(ping).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.memory.send("aa");
    tokio::time::sleep(Duration::from_secs(1)).await;
    for asked in [[1; 125], [2; 125]] {
        let pong = Message::Pong(bytes::Bytes::copy_from_slice(&asked));
        assert_eq!(next(&mut client).await, pong);
    }
    assert!(text(&mut client).await.contains("#messageEvent"));
}

#[tokio::test]
async fn who_was_asked_whether_it_is_there_is_written_to_by_the_hub_again() {
    let (near, _far) = tokio::io::duplex(1 << 10);
    let settings = World::new().shared.settings.clone();
    let mut socket = Socket::new(Box::new(near), Vec::new(), Framing::Json, settings);
    socket.ping(Duration::ZERO).await.unwrap();
    assert!(Box::new(socket).lend().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_long_for_its_turn_to_leave_is_asked_meanwhile_whether_it_is_there() {
    let world = World::new();
    world.shared.settings.replace(Settings {
        drain_window: Duration::from_secs(3_600),
        ..Settings::default()
    });
    let mut client = world.connect_json().await;
    let shutdown = world.shutdown.clone();
    let begun = Instant::now();
    tokio::spawn(async move { shutdown.drain(Duration::from_secs(7_200)).await });
    let mut asked = 0;
    while matches!(next(&mut client).await, Message::Ping(_)) {
        asked += 1;
    }
    let least = begun.elapsed().as_secs() / world.settings().ping_after.as_secs();
    assert!(asked + 1 >= least, "{asked} of {least} times");
}

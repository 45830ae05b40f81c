//! How a connection ends: in order, with nothing behind half of a frame, and each step in the
//! time that is set for it.

use std::future::poll_fn;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::Settings;
use super::line::Line;
use super::socket::Socket;
use crate::runtime::Live;
use crate::wire::{CloseReason, Framing, Notice};

/// A socket and its client's end, with so much room between them.
fn pair(room: usize) -> (Socket, DuplexStream) {
    let (near, far) = duplex(room);
    let settings = Live::new(Settings::default());
    let socket = Socket::new(Box::new(near), Vec::new(), Framing::Json, settings);
    (socket, far)
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_at_the_end_for_longer_than_is_set() {
    let set = Settings::default().close_timeout;
    for (reason, room, waits) in [
        // One that does not answer, one that takes nothing, one that does not leave, and nobody.
        (CloseReason::Draining, ROOM, set),
        (CloseReason::Draining, 1, 2 * set),
        (CloseReason::ProtocolError, ROOM, set),
        (CloseReason::PeerSilent, ROOM, Duration::ZERO),
    ] {
        let (mut socket, _client) = pair(room);
        let begun = Instant::now();
        socket.close(reason).await;
        let waited = begun.elapsed().as_secs();
        assert_eq!(waited, waits.as_secs(), "{reason:?} with room for {room}");
    }
}

/// Over TLS that is said: what just breaks off may have been cut by somebody else.
#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_the_goodbye_and_does_not_just_break_off() {
    let (mut socket, mut client) = pair(ROOM);
    socket.close(CloseReason::Draining).await;
    let mut heard = Vec::new();
    // While the socket is still there.
    let ended = timeout(Duration::from_secs(1), client.read_to_end(&mut heard)).await;
    ended.expect("the end is told").unwrap();
    assert!(heard.ends_with(b"Draining"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn who_left_without_a_goodbye_hears_none() {
    let (mut socket, mut client) = pair(ROOM);
    socket.end().await;
    let heard = timeout(Duration::from_secs(1), client.read_u8()).await;
    assert!(heard.is_err(), "the stream was ended in order");
}

#[tokio::test(start_paused = true)]
async fn at_the_end_nothing_follows_half_of_a_frame() {
    for says_goodbye in [true, false] {
        let (mut socket, mut client) = pair(8);
        let writing = socket.write_notice(&Notice::Pong);
        assert!(timeout(Duration::from_secs(1), writing).await.is_err());
        // It is asked meanwhile, and owes an answer.
        client.write_all(&[0x89, 0x80, 0, 0, 0, 0]).await.unwrap();
        let asked = poll_fn(|context| socket.poll_read(context)).await;
        assert!(asked.unwrap().is_ping());
        client.read_exact(&mut [0; 8]).await.unwrap();
        match says_goodbye {
            true => socket.close(CloseReason::Draining).await,
            false => socket.end().await,
        }
        drop(socket);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// A connection that is closed with something unread is reset, and takes along what was said.
#[tokio::test(start_paused = true)]
async fn who_goes_on_after_the_goodbye_is_let_talk_until_it_hears_it() {
    let (mut socket, mut client) = pair(ROOM);
    let closing = async move { socket.close(CloseReason::RateLimited).await };
    let going_on = async {
        for _ in 0..2 * Settings::default().last_messages_max {
            // An empty text.
            client.write_all(&[0x81, 0x80, 0, 0, 0, 0]).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        assert!(heard.ends_with(b"RateLimited"), "{heard:?}");
    };
    tokio::join!(closing, going_on);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_of_a_ping_is_given_up_as_who_takes_nothing_of_an_event() {
    let (mut socket, _client) = pair(1);
    let patience = Settings::default().write_timeout;
    let asked = timeout(2 * patience, socket.ping(Duration::ZERO)).await;
    assert_eq!(asked, Ok(Err(CloseReason::ConsumerTooSlow)));
}

/// Enough for a goodbye.
const ROOM: usize = 1 << 10;

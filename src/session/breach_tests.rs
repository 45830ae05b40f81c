//! What becomes of clients that break the rules: of the protocol, of sizes, of how much they
//! may say.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{Frame, FrameHeader};

use super::Settings;
use super::line::Line;
use super::socket::Socket;
use super::tests::{World, close_code, next, text};
use crate::limits;
use crate::wire::{CloseReason, Framing};

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_too_large_ends_the_session() {
    let world = World::new();
    let (mut client, served) = world.connect(Framing::Json, None).await;
    let _ = text(&mut client).await;
    // Far more than lies between the two: the rest must be taken, too, or nobody would
    // hear why.
    let large = "x".repeat(world.pipe_len * 20);
    client.send(Message::text(large)).await.unwrap();
    assert_eq!(close_code(&mut client).await.0, 1009);
    drop(client);
    served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_too_large_is_so_in_pieces_too() {
    let mut client = World::new().connect_json().await;
    let more_than_half = vec![b' '; Settings::default().frame_len_max / 2 + 1];
    for opcode in [Data::Text, Data::Continue] {
        let piece = Frame::message(more_than_half.clone(), OpCode::Data(opcode), false);
        client.send(Message::Frame(piece)).await.unwrap();
    }
    assert_eq!(close_code(&mut client).await.0, 1009);
}

#[tokio::test(start_paused = true)]
async fn text_that_is_not_utf_8_ends_the_session_by_its_own_code() {
    let world = World::new();
    let text = OpCode::Data(Data::Text);
    let close = FrameHeader {
        opcode: OpCode::Control(Control::Close),
        ..FrameHeader::default()
    };
    let reason = [&1000_u16.to_be_bytes()[..], b"\xff"].concat();
    for frames in [
        vec![Frame::message(&b"\xff"[..], text, true)],
        vec![
            Frame::message(&b"\xc3"[..], text, false),
            Frame::message(&b"("[..], OpCode::Data(Data::Continue), true),
        ],
        vec![Frame::from_payload(close, reason.into())],
    ] {
        let mut client = world.connect_json().await;
        for frame in frames {
            client.send(Message::Frame(frame)).await.unwrap();
        }
        let expected = (1007, "InvalidPayload".to_owned());
        assert_eq!(close_code(&mut client).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_piece_of_no_message_ends_the_session() {
    let mut client = World::new().connect_json().await;
    let piece = Frame::message(Vec::new(), OpCode::Data(Data::Continue), true);
    client.send(Message::Frame(piece)).await.unwrap();
    let expected = (1002, "ProtocolError".to_owned());
    assert_eq!(close_code(&mut client).await, expected);
}

#[tokio::test(start_paused = true)]
async fn pings_take_nothing_from_what_a_client_may_ask_for() {
    let mut client = World::new().connect_json().await;
    for _ in 0..limits::Settings::default().sockets.frames {
        client.send(Message::Ping(Bytes::new())).await.unwrap();
        assert!(matches!(next(&mut client).await, Message::Pong(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_too_many_pieces_ends_the_session() {
    let world = World::new();
    let mut client = world.connect_json().await;
    let piece = |opcode, is_last| {
        let opcode = OpCode::Data(opcode);
        Message::Frame(Frame::message(Vec::new(), opcode, is_last))
    };
    client.send(piece(Data::Text, false)).await.unwrap();
    for _ in 2..world.settings().fragments_max {
        client.send(piece(Data::Continue, false)).await.unwrap();
    }
    client.send(piece(Data::Continue, true)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    client
        .send(Message::text(r#"{"$type":"ping"}"#))
        .await
        .unwrap();
    assert!(text(&mut client).await.contains("pong"), "so many may be");

    client.send(piece(Data::Text, false)).await.unwrap();
    // Nobody would ever see this message's end.
    for _ in 0..world.settings().fragments_max {
        client.send(piece(Data::Continue, false)).await.unwrap();
    }
    assert_eq!(close_code(&mut client).await.0, 1009);
}

#[tokio::test(start_paused = true)]
async fn what_comes_together_with_one_piece_too_many_is_heard() {
    let world = World::new();
    let mut client = world.connect_json().await;
    let piece = |opcode| {
        let opcode = OpCode::Data(opcode);
        Message::Frame(Frame::message(Vec::new(), opcode, false))
    };
    let ping = Message::text(r#"{"$type":"ping"}"#);
    client.feed(ping).await.unwrap();
    client.feed(piece(Data::Text)).await.unwrap();
    for _ in 0..world.settings().fragments_max {
        client.feed(piece(Data::Continue)).await.unwrap();
    }
    // All in one write.
    client.flush().await.unwrap();
    assert!(text(&mut client).await.contains("pong"));
    assert_eq!(close_code(&mut client).await.0, 1009);
}

/// Sends one message again and again: the first refusal, and the code of the end.
async fn flood(said: Message) -> (Option<String>, Option<u16>) {
    let mut client = World::new().connect_json().await;
    let (mut refusal, mut code) = (None, None);
    for _ in 0..10_000 {
        if client.send(said.clone()).await.is_err() {
            break;
        }
        while let Ok(Some(Ok(message))) = timeout(Duration::from_millis(1), client.next()).await {
            match message {
                Message::Text(text) if text.contains("retryAfterMs") => {
                    refusal.get_or_insert(text.to_string());
                }
                Message::Close(Some(frame)) => code = Some(u16::from(frame.code)),
                _ => {}
            }
        }
    }
    (refusal, code)
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_told_what_was_too_much_and_then_cut_off() {
    let large = format!(r#"{{"$type":"{}"}}"#, "x".repeat(4000));
    for (said, words) in [
        (Message::text(r#"{"$type":"nothing"}"#), "too many frames"),
        (Message::text(large.as_str()), "too many bytes"),
        (Message::binary(large), "too many bytes"),
    ] {
        let (refusal, code) = flood(said).await;
        let refusal = refusal.unwrap();
        assert!(refusal.contains(words), "{refusal}");
        assert_eq!(code, Some(1008));
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_what_has_arrived_never_says_it_too_often() {
    let ack = Message::text(r##"{"$type":"#ack"}"##);
    assert_eq!(flood(ack).await, (None, None));
}

const FRAMES: usize = 60_000;

/// A socket whose client has sent so many frames already, and the client's end.
async fn flooded(world: &World) -> (Socket, DuplexStream) {
    // Empty texts, masked by nothing.
    let bytes = [0x81, 0x80, 0, 0, 0, 0].repeat(FRAMES);
    let (near, mut far) = tokio::io::duplex(bytes.len());
    far.write_all(&bytes).await.unwrap();
    let settings = world.shared.settings.clone();
    let socket = Socket::new(Box::new(near), Vec::new(), Framing::Json, settings);
    (socket, far)
}

/// How often another task has its turn until this one is done.
async fn turns_beside(task: impl Future<Output = ()> + Send + 'static) -> usize {
    let task = tokio::spawn(task);
    let mut turns = 0;
    while !task.is_finished() {
        tokio::task::yield_now().await;
        turns += 1;
    }
    turns
}

#[tokio::test]
async fn whoever_floods_its_own_socket_lets_others_have_their_turn() {
    let (mut socket, _client) = flooded(&World::new()).await;
    let turns = turns_beside(async move {
        for _ in 0..FRAMES {
            let heard = poll_fn(|context| socket.poll_read(context)).await;
            heard.unwrap();
        }
    });
    let turns = turns.await;
    assert!(turns >= FRAMES / 1_000, "{turns} turns of another task");
}

/// How often another task has its turn while a client is sent away that goes on instead.
async fn turns_of_a_goodbye(last_messages_max: u32) -> usize {
    let world = World::new();
    let settings = Settings {
        last_messages_max,
        ..Settings::default()
    };
    world.shared.settings.adopt(settings);
    let (mut socket, mut client) = flooded(&world).await;
    client.shutdown().await.unwrap();
    let turns = turns_beside(async move { socket.close(CloseReason::RateLimited).await });
    let turns = turns.await;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert!(heard.ends_with(b"RateLimited"), "{heard:?}");
    turns
}

#[tokio::test]
async fn of_a_flood_that_goes_on_after_the_goodbye_the_rest_is_let_go_unread() {
    let usual = Settings::default().last_messages_max;
    let turns = turns_of_a_goodbye(usual).await;
    assert!(turns < FRAMES / 1_000, "{turns} turns of another task");
    let turns = turns_of_a_goodbye(u32::MAX).await;
    assert!(turns >= FRAMES / 1_000, "{turns} turns of another task");
}

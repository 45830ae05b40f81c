//! A session and a client that sends whatever it likes. It ends, whatever came; it says the
//! same and ends for the same reason however the bytes were cut, however little of them either
//! side takes at once, and whether or not the first of them came with the handshake; what it
//! says is well-formed; and it hears what another reader of the same bytes reads in them.

#![cfg_attr(fuzzing, no_main)]

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mls_relay::events::{Answer, Bell, Hub, Journal, Settings, Stored, Subscriber};
use mls_relay::limits::{self, Clock, Limits};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::session::fuzzing::serve;
use mls_relay::store::{Announced, Ends, Membership, Notification, Run, StoredMessage};
use mls_relay::types::{ClientIp, CoarseTime, Did, Seq};
use mls_relay::wire::{ClientFrame, CloseReason, Framing, Standing};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

/// The framing, whether the client hangs up, and the size of the pieces; then what it sends.
pub(crate) fn run(data: &[u8]) {
    let Some((shape, said)) = data.split_first() else {
        return;
    };
    let framing = [Framing::Json, Framing::DagCbor][usize::from(shape & 1)];
    let hangs_up = shape & 2 == 0;
    let whole = talk((&[], said), 1 << 16, framing, hangs_up);
    let size = usize::from(shape >> 2) + 1;
    let pieces = said.split_at(size.min(said.len()));
    assert_eq!(talk(pieces, size, framing, hangs_up), whole);

    let pings = pings(said);
    let is_limited = whole.answers.iter().any(|answer| !is_pong(answer));
    let is_cut = whole.reason == CloseReason::FrameTooLarge;
    let pongs = whole
        .answers
        .iter()
        .filter(|answer| is_pong(answer))
        .count();
    assert!(
        pongs == pings || pongs < pings && (is_limited || is_cut),
        "{pongs} of {pings}"
    );
}

#[derive(Debug, PartialEq)]
struct Talk {
    /// What was said besides that all is well.
    answers: Vec<Message>,
    /// The code and the reason of its close frame.
    goodbye: Option<(u16, String)>,
    reason: CloseReason,
}

/// What had begun comes with the handshake, the rest in pieces of this size, and no more is
/// on its way at once, to either side.
fn talk((begun, rest): (&[u8], &[u8]), size: usize, framing: Framing, hangs_up: bool) -> Talk {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let (reason, heard) = runtime.unwrap().block_on(async {
        let shutdown = Shutdown::default();
        let hub = Hub::start(Arc::new(Quiet), Live::new(Settings::default()), &shutdown);
        let mut settings = limits::Settings::default();
        // One client needs no more.
        (settings.tables.ip_keys, settings.tables.did_keys) = (1, 1);
        let limits = Limits::new(Live::new(settings), Clock::manual());
        let did = Did::parse("did:plc:bob").unwrap();
        let address = ClientIp::new("192.0.2.1".parse().unwrap());
        let (near, far) = tokio::io::duplex(size);
        let (mut reading, mut writing) = tokio::io::split(far);
        let served = serve(
            (near, begun.to_vec()),
            framing,
            (&hub, &limits),
            (address, &did),
        );
        let sends = async {
            for piece in rest.chunks(size) {
                // It may have heard enough.
                let _ = writing.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            if hangs_up {
                let _ = writing.shutdown().await;
            }
        };
        let hears = async {
            let mut heard = Vec::new();
            reading.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let all = async { tokio::join!(served, sends, hears) };
        let (reason, (), heard) = timeout(PATIENCE, all).await.expect("every session ends");
        (reason.expect("there is a place"), heard)
    });
    let mut talk = Talk {
        answers: Vec::new(),
        goodbye: None,
        reason,
    };
    let mut client = WebSocket::from_raw_socket(Record(&heard), Role::Client, None);
    loop {
        match client.read() {
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(frame)) => {
                talk.goodbye = frame.map(|it| (it.code.into(), it.reason.to_string()));
            }
            Ok(message) if holds(&message, "#synced") => {}
            Ok(message) => talk.answers.push(message),
            Err(Error::ConnectionClosed) => return talk,
            // It has hung up itself.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return talk,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Silence is given up on after 75 s.
const PATIENCE: Duration = Duration::from_secs(300);

/// How often another reader finds a client's own ping.
fn pings(said: &[u8]) -> usize {
    let config = WebSocketConfig::default()
        .max_frame_size(Some(4 << 10))
        .max_message_size(Some(4 << 10));
    let mut socket = WebSocket::from_raw_socket(Record(said), Role::Server, Some(config));
    let mut pings = 0;
    loop {
        let frame = match socket.read() {
            Ok(Message::Text(text)) => ClientFrame::from_text(&text),
            Ok(Message::Binary(bytes)) => ClientFrame::from_binary(&bytes),
            Ok(Message::Close(_)) | Err(_) => return pings,
            Ok(_) => continue,
        };
        pings += usize::from(frame == ClientFrame::Ping);
    }
}

/// What one side said. Whatever is answered goes nowhere.
struct Record<'a>(&'a [u8]);

impl Read for Record<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Read::read(&mut self.0, into)
    }
}

impl Write for Record<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_pong(answer: &Message) -> bool {
    holds(answer, "#pong")
}

fn holds(message: &Message, name: &str) -> bool {
    let bytes = message.clone().into_data();
    bytes
        .windows(name.len())
        .any(|window| window == name.as_bytes())
}

/// A log in which nothing happens.
struct Quiet;

impl Journal for Quiet {
    fn ends(&self) -> Answer<'_, Ends> {
        let ends = Ends {
            floor: Seq::ZERO,
            head: Seq::ZERO,
            at: CoarseTime::from_unix_seconds(0),
        };
        async move { Ok(ends) }.boxed()
    }

    fn leap_over(&self, _: Seq) -> Answer<'_, ()> {
        async { Ok(()) }.boxed()
    }

    fn between(&self, _: Seq, _: Seq, _: u32) -> Answer<'_, Vec<Stored>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn runs<'a>(&'a self, runs: &'a [Run], _: u32) -> Answer<'a, Vec<Vec<Stored>>> {
        async { Ok(vec![Vec::new(); runs.len()]) }.boxed()
    }

    fn memberships<'a>(&'a self, _: &'a Did) -> Answer<'a, Vec<Membership>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn standings<'a>(&'a self, _: &'a Subscriber) -> Answer<'a, Vec<Standing>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn announced(&self, _: Announced) -> Answer<'_, Option<StoredMessage>> {
        async { Ok(None) }.boxed()
    }

    fn listen<'a>(&'a self, _: &'a [&'a str]) -> Answer<'a, Box<dyn Bell>> {
        async { Ok(Box::new(Self) as Box<dyn Bell>) }.boxed()
    }

    fn notify<'a>(&'a self, _: &'a str, _: &'a [String]) -> Answer<'a, ()> {
        async { Ok(()) }.boxed()
    }

    fn queue_usage(&self) -> Answer<'_, f64> {
        async { Ok(0.0) }.boxed()
    }
}

impl Bell for Quiet {
    fn next(&mut self) -> Answer<'_, Notification> {
        std::future::pending().boxed()
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));

//! The paths that everybody waits on: each prepared as it is found in a busy relay, then
//! taken once a turn.

use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use mls_relay::auth::{self, Authenticator, SecondLook};
use mls_relay::events::{Board, Due, Event, Outbox};
use mls_relay::limits::{self, Clock, Limits};
use mls_relay::runtime::Live;
use mls_relay::store::Membership;
use mls_relay::types::{ClientIp, CoarseTime, ConvoId, Cursor, Did, MessageId, Nsid, Seq};
use mls_relay::wire::{Envelope, Framing, event_frame};
use mls_relay_loadtest::directory::Directory;
use mls_relay_loadtest::identity::Curve;
use tokio::runtime::Runtime;

use crate::node::Node;

/// What one turn does; it is told the number of the turn.
pub(crate) type Work = Box<dyn FnMut(usize)>;

/// A path's name, and what prepares it.
pub(crate) type Path = (&'static str, fn() -> Work);

pub(crate) const PATHS: &[Path] = &[
    ("limit_check", limit_check),
    ("cursor_read_and_written", cursor),
    ("frame_dag_cbor", || frame(Framing::DagCbor)),
    ("frame_json", || frame(Framing::Json)),
    ("fanout_to_100_seats", fanout),
    ("token_claims", token_claims),
    ("token_repeated", token_repeated),
];

/// One of a thousand addresses, each of which asks twice a minute.
fn limit_check() -> Work {
    let mut settings = limits::Settings::default();
    settings.tables.ip_keys = 2 * ADDRESSES;
    let clock = Clock::manual();
    let limits = Limits::new(Live::new(settings), clock.clone());
    for number in 0..ADDRESSES {
        limits.check(limits.arrival(address(number)), None);
    }
    Box::new(move |turn| {
        clock.advance(Duration::from_millis(30_000 / u64::from(ADDRESSES)));
        let arrival = limits.arrival(address(turn as u32 % ADDRESSES));
        let decision = limits.check(arrival, None);
        assert!(decision.refused.is_none());
    })
}

fn cursor() -> Work {
    Box::new(|turn| {
        let text = place(turn).expose();
        assert_eq!(Cursor::parse(&text), Ok(place(turn)));
    })
}

/// From the envelope as it is stored to the bytes for the socket.
fn frame(framing: Framing) -> Work {
    let convo = convo();
    let envelopes: Vec<_> = (0..EVENTS).map(|number| envelope(&convo, number)).collect();
    Box::new(move |turn| {
        let envelope = Envelope::parse(&envelopes[turn % EVENTS]).unwrap();
        let frame = event_frame(framing, place(turn).seq(), &envelope, None).unwrap();
        assert!(frame.bytes().len() > 100);
    })
}

/// One event to all queues of a conversation, and out of them again.
fn fanout() -> Work {
    let convo = convo();
    let mut board = Board::new(place(0), RECENT_BYTES, SEATS);
    let outboxes: Vec<_> = (0..SEATS).map(|_| Arc::new(Outbox::new(1 << 20))).collect();
    for (number, outbox) in outboxes.iter().enumerate() {
        let did = Did::parse(&format!("did:plc:{number:024}")).unwrap();
        let seat = board.register(did, None, Arc::clone(outbox));
        let stay = Membership {
            convo: convo.clone(),
            joined: Seq::ZERO,
            left: None,
        };
        board.attach(seat, vec![stay], None).unwrap();
    }
    let mut due = Due::new();
    let mut number = 0;
    Box::new(move |_| {
        number += 1;
        let event = Arc::new(Event::parse(&envelope(&convo, number)).unwrap());
        board.pass_on(&event, &mut due);
        let context = Context::from_waker(Waker::noop());
        for outbox in &outboxes {
            assert!(outbox.poll_take(&context, 64).is_ready());
            assert!(outbox.poll_take(&context, 64).is_pending());
        }
        due.clear();
    })
}

/// All of a first token that is not its signature, which is the cryptographic library's
/// and depends on what the processor can do.
fn token_claims() -> Work {
    let known = Known::start();
    Box::new(move |_| assert!(known.authenticator.claimed(&known.headers, None).is_some()))
}

/// A token that was proved before.
fn token_repeated() -> Work {
    let known = Known::start();
    known.runtime.block_on(known.prove());
    Box::new(move |_| {
        let proof = pin!(known.prove());
        // It waits for nothing.
        let proved = proof.poll(&mut Context::from_waker(Waker::noop()));
        assert!(proved.is_ready());
    })
}

/// A relay's doorkeeper and a token that it will know.
struct Known {
    authenticator: Authenticator,
    headers: HeaderMap,
    _directory: Directory,
    _node: Node,
    runtime: Runtime,
}

impl Known {
    fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let (node, directory, authenticator) = runtime.block_on(async {
            let node = Node::start(&[]).await;
            let directory = Directory::start().await.unwrap();
            let settings = auth::Settings {
                service_did: SERVICE.to_owned(),
                plc_url: directory.url(),
                enforce_jti: false,
                ..auth::Settings::default()
            };
            let (store, shutdown) = (node.store.clone(), node.shutdown.clone());
            let authenticator = Authenticator::start(Live::new(settings), store, shutdown);
            (node, directory, authenticator.await.unwrap())
        });
        let account = directory.account(Curve::P256).unwrap();
        let token = account.service_token(SERVICE, CALL.as_str(), Duration::from_secs(240));
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.unwrap()));
        Self {
            authenticator,
            headers: HeaderMap::from_iter([(AUTHORIZATION, bearer.unwrap())]),
            _directory: directory,
            _node: node,
            runtime,
        }
    }

    async fn prove(&self) {
        let node = &self.authenticator;
        let proof = node.prove(&self.headers, CALL, address(1), SecondLook::Allowed);
        if let Some(nonce) = proof.await.unwrap().nonce {
            node.use_up(nonce).await.unwrap();
        }
    }
}

fn address(number: u32) -> ClientIp {
    ClientIp::new(Ipv4Addr::from(number.wrapping_mul(2_654_435_761)).into())
}

fn convo() -> ConvoId {
    ConvoId::parse("0123456789abcdef0123456789abcdef").unwrap()
}

fn place(number: usize) -> Cursor {
    let seq = Seq::new(1_000_000 + number as u64);
    Cursor::new(CoarseTime::from_unix_seconds(1_800_000_000), seq)
}

fn envelope(convo: &ConvoId, number: usize) -> String {
    let message = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
    let (cursor, convo, message) = (place(number).expose(), convo.expose(), message.expose());
    format!(r#"{{"cursor":"{cursor}","convoId":"{convo}","messageId":"{message}"}}"#)
}

const SERVICE: &str = "did:web:relay.test";
const CALL: Nsid = Nsid::SendMessage;
const ADDRESSES: u32 = 1_000;
const EVENTS: usize = 64;
const SEATS: usize = 100;
/// What the board remembers: full after the first turns, so that it forgets as it goes.
const RECENT_BYTES: usize = 1 << 16;

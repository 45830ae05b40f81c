//! Opening a subscription: who gets one, how, over HTTP/1.1 and HTTP/2, and what the
//! others are told.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mls_relay::auth::{self, Authenticator};
use mls_relay::events::{self, Hub};
use mls_relay::limits::{self, Clock, Limits};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::session::{self, Sessions};
use mls_relay::types::ClientIp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::phone::{Phone, together};
use crate::relay::{self, SERVICE_DID, path};
use crate::websocket::extended_connect;
use crate::world::{Client, World};

const CALL: &str = "subscribeConvoEvents";

/// The door to subscriptions on a port of its own, beside the calls of a world. Its node knows
/// of all that was there before.
struct Door {
    world: World,
    address: SocketAddr,
    _shutdown: Shutdown,
}

impl Door {
    async fn open() -> Self {
        Self::beside(World::start().await).await
    }

    async fn beside(world: World) -> Self {
        let shutdown = Shutdown::default();
        let settings = auth::Settings {
            service_did: SERVICE_DID.to_owned(),
            plc_url: world.directory.url(),
            ..auth::Settings::default()
        };
        let store = world.store.clone();
        let auth = Authenticator::start(Live::new(settings), store.clone(), shutdown.clone());
        let sessions = Sessions::new(
            Hub::start(
                Arc::new(store),
                Live::new(events::Settings::default()),
                &shutdown,
            ),
            auth.await.unwrap(),
            Limits::new(Live::new(limits::Settings::default()), Clock::system()),
            Live::new(session::Settings::default()),
            shutdown.clone(),
        );
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        shutdown.spawn_background(serve(listener, sessions));
        Self {
            world,
            address,
            _shutdown: shutdown,
        }
    }

    /// Asks for a subscription as a browser would, with a ticket or a token.
    async fn ask(&self, query: &str, token: Option<&str>) -> Result<Socket, Refusal> {
        let uri = format!("ws://{}{}?{query}", self.address, path(CALL));
        let mut request = Request::get(uri)
            .header("host", self.address.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .header("sec-websocket-protocol", "mls-relay.json.v1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let stream = TcpStream::connect(self.address).await.unwrap();
        let request = request.body(()).unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Socket(socket)),
            Err(Error::Http(response)) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body: Value = serde_json::from_slice(body).unwrap();
                Err((
                    response.status(),
                    body["error"].as_str().unwrap().to_owned(),
                ))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn serve(listener: TcpListener, sessions: Sessions) {
    loop {
        let (stream, peer) = listener.accept().await.unwrap();
        let sessions = sessions.clone();
        tokio::spawn(async move {
            let mut first = [0; 3];
            stream.peek(&mut first).await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| {
                let sessions = sessions.clone();
                async move {
                    let client = ClientIp::new(peer.ip());
                    let (request, _) = request.into_parts();
                    Ok::<_, Infallible>(sessions.subscribe(request, client).await)
                }
            });
            let io = TokioIo::new(stream);
            if first == *b"PRI" {
                let mut connection = http2::Builder::new(TokioExecutor::new());
                connection.enable_connect_protocol();
                let _ = connection.serve_connection(io, service).await;
            } else {
                let connection = http1::Builder::new().serve_connection(io, service);
                let _ = connection.with_upgrades().await;
            }
        });
    }
}

type Refusal = (StatusCode, String);

#[derive(Debug)]
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn next(&mut self) -> Value {
        loop {
            let message = timeout(Duration::from_secs(20), self.0.next()).await;
            match message.unwrap().unwrap().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("not a text: {other:?}"),
            }
        }
    }
}

fn token(client: &Client) -> String {
    relay::token(&client.account, CALL)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_stream_and_events_flow() {
    let (world, [alice], mut group) = together().await;
    let door = Door::beside(world).await;
    let mut socket = door.ask("", Some(&token(&alice))).await.unwrap();
    let synced = socket.next().await;
    assert_eq!(synced["t"], "#synced");
    let standing = &synced["body"]["conversations"][0];
    assert_eq!(standing["convoId"], group.id());
    let message = alice.message(&mut group, b"hello");
    alice.post("sendMessage", &message).await;
    let event = socket.next().await;
    assert_eq!(event["t"], "#messageEvent");
    assert_eq!(event["body"]["messageId"], message["msgId"]);
    for frame in [&synced, &event] {
        let name = frame["t"].as_str().unwrap().trim_start_matches('#');
        let faults = door.world.lexicons.event_faults(name, &frame["body"]);
        assert!(faults.is_empty(), "{name}: {faults:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_proves_nothing_or_asks_wrongly_is_told_so_by_status() {
    let door = Door::open().await;
    let alice = Phone::new(&door.world).await;
    let group = alice.found(&[]).await;
    let stranger = Phone::new(&door.world).await;
    let refused = |status, name: &str| Err::<Socket, _>((status, name.to_owned()));
    let same = |got: Result<Socket, Refusal>, wanted: Result<Socket, Refusal>| {
        assert_eq!(got.err(), wanted.err());
    };
    let unauthorized = refused(StatusCode::UNAUTHORIZED, "AuthenticationRequired");
    same(door.ask("", None).await, unauthorized);
    let query = format!("convoId={}", group.id());
    let absent = refused(StatusCode::NOT_FOUND, "ConvoNotFound");
    same(door.ask(&query, Some(&token(&stranger))).await, absent);
    let invalid = refused(StatusCode::BAD_REQUEST, "InvalidRequest");
    same(door.ask("cursor=x", Some(&token(&alice))).await, invalid);
    assert!(door.ask(&query, Some(&token(&alice))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_one_stream_of_what_it_names() {
    let door = Door::open().await;
    let alice = Phone::new(&door.world).await;
    let (group, other) = (alice.found(&[]).await, alice.found(&[]).await);
    let input = json!({ "convoId": group.id() });
    let ticket = async || {
        let answer = alice.post("getSubscriptionTicket", &input).await;
        answer["ticket"].as_str().unwrap().to_owned()
    };
    let query = format!("ticket={}", ticket().await);
    let mut socket = door.ask(&query, None).await.unwrap();
    let synced = socket.next().await;
    let convos = synced["body"]["conversations"].as_array().unwrap();
    assert_eq!(convos.len(), 1);
    assert_eq!(convos[0]["convoId"], group.id());
    let (status, _) = door.ask(&query, None).await.unwrap_err();
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let elsewhere = format!("ticket={}&convoId={}", ticket().await, other.id());
    let (_, name) = door.ask(&elsewhere, None).await.unwrap_err();
    assert_eq!(name, "ConvoNotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sixth_stream_of_one_account_has_to_wait_for_a_place() {
    let door = Door::open().await;
    let alice = Phone::new(&door.world).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(door.ask("", Some(&token(&alice))).await.unwrap());
    }
    let ticket = alice.post("getSubscriptionTicket", &json!({})).await;
    let query = format!("ticket={}", ticket["ticket"].as_str().unwrap());
    let (status, name) = door.ask(&query, None).await.unwrap_err();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(name, "RateLimitExceeded");
    drop(open.pop());
    // Who was refused comes back with the same ticket.
    let freed = async {
        while let Err((status, _)) = door.ask(&query, None).await {
            assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(Duration::from_secs(20), freed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_was_used_costs_its_account_nothing() {
    let door = Door::open().await;
    let alice = Phone::new(&door.world).await;
    let ticket = alice.post("getSubscriptionTicket", &json!({})).await;
    let ticket = ticket["ticket"].as_str().unwrap();
    let _opened = door.ask(&format!("ticket={ticket}"), None).await.unwrap();
    // Another node does not know that it was used, and looks for what it asks for.
    let elsewhere = Door::beside(door.world).await;
    for _ in 0..40 {
        let query = format!("ticket={ticket}&convoId=abcd");
        let (_, name) = elsewhere.ask(&query, None).await.unwrap_err();
        assert_eq!(name, "JwtReplayed");
    }
    let opened = elsewhere.ask("", Some(&token(&alice))).await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_on_and_on_for_a_conversation_that_it_is_not_in_spends_its_upgrades() {
    let door = Door::open().await;
    let alice = Phone::new(&door.world).await;
    let most = limits::Settings::default().sockets.upgrades_per_did;
    for _ in 0..most {
        let (_, name) = door
            .ask("convoId=abcd", Some(&token(&alice)))
            .await
            .unwrap_err();
        assert_eq!(name, "ConvoNotFound");
    }
    let (_, name) = door
        .ask("convoId=abcd", Some(&token(&alice)))
        .await
        .unwrap_err();
    assert_eq!(name, "RateLimitExceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_a_phone_lost_makes_way_for_its_next_one_and_live_ones_stay() {
    let (world, [alice], mut group) = together().await;
    let door = Door::beside(world).await;
    let mut live = Vec::new();
    for _ in 0..4 {
        let mut socket = door.ask("", Some(&token(&alice))).await.unwrap();
        assert_eq!(socket.next().await["t"], "#synced");
        // Whoever reads answers pings.
        live.push(tokio::spawn(async move { socket.next().await }));
    }
    let _lost = door.ask("", Some(&token(&alice))).await.unwrap();
    let query = async || door.ask("", Some(&token(&alice))).await;
    let begun = std::time::Instant::now();
    while let Err((status, _)) = query().await {
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert!(begun.elapsed() < Duration::from_secs(15), "no place");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let message = alice.message(&mut group, b"hello");
    alice.post("sendMessage", &message).await;
    for socket in live {
        assert_eq!(socket.await.unwrap()["t"], "#messageEvent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_a_stream_is_one_of_many_on_its_connection() {
    let (world, [alice], mut group) = together().await;
    let door = Door::beside(world).await;
    let stream = TcpStream::connect(door.address).await.unwrap();
    let (mut sender, _connection) = crate::http2::over(stream).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let request = extended_connect(
            format!("http://{}{}", door.address, path(CALL)),
            &token(&alice),
        );
        sender.ready().await.unwrap();
        // The server's settings, which allow this, may arrive a moment later.
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let upgraded = hyper::upgrade::on(response).await.unwrap();
        let io = TokioIo::new(upgraded);
        sockets.push(WebSocketStream::from_raw_socket(io, Role::Client, None).await);
    }
    let text = async |socket: &mut WebSocketStream<_>| {
        let message = timeout(Duration::from_secs(20), socket.next()).await;
        message
            .unwrap()
            .unwrap()
            .unwrap()
            .into_text()
            .unwrap()
            .to_string()
    };
    for socket in &mut sockets {
        assert!(text(socket).await.contains("#synced"));
    }
    let message = alice.message(&mut group, b"hello");
    alice.post("sendMessage", &message).await;
    for socket in &mut sockets {
        assert!(text(socket).await.contains("#messageEvent"));
    }
}

//! A listener against a relay of a few lines, which breaks off where it is told to.

use std::sync::Arc;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::listener::{Listener, Phase, Shared};
use super::tally::Schedule;
use super::world::Member;
use crate::identity::{Account, Curve};
use crate::stand_in::stand_in;

/// Gives each subscription, one after the other, its frames and is gone; what each asked for.
async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    subscriptions: Vec<Vec<Value>>,
) -> Vec<String> {
    let mut asked = Vec::new();
    for frames in subscriptions {
        let (tcp, _) = listener.accept().await.unwrap();
        let tls = tls.accept(tcp).await.unwrap();
        #[expect(
            clippy::result_large_err,
            reason = "the type of the callback is tungstenite's"
        )]
        let hear = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
            asked.push(request.uri().query().unwrap_or_default().to_owned());
            Ok(response)
        };
        let mut socket = accept_hdr_async(tls, hear).await.unwrap();
        for frame in frames {
            let header = json!({"op": 1, "t": frame["t"]});
            let parts =
                [&header, &frame["body"]].map(|part| serde_ipld_dagcbor::to_vec(part).unwrap());
            let message = Message::binary(parts.concat());
            socket.send(message).await.unwrap();
        }
    }
    asked
}

#[tokio::test]
async fn what_was_heard_before_a_replay_broke_off_is_not_asked_for_again() {
    let (tcp, tls, relay) = stand_in().await;
    let event =
        json!({"t": "#messageEvent", "body": {"seq": 7, "cursor": "seven", "convoId": "ab"}});
    let synced = json!({"t": "#synced", "body": {"cursor": "seven"}});
    let subscriptions = vec![vec![event], vec![synced]];
    let asked = tokio::spawn(serve(tcp, TlsAcceptor::from(Arc::new(tls)), subscriptions));

    let shared = Shared::new(Schedule::new(0, 1)).unwrap();
    let member = Member {
        account: Arc::new(Account::generate(Curve::P256).unwrap()),
        relay: Arc::new(relay),
    };
    let (_phase, phases) = watch::channel(Phase::default());
    let mut listener = Listener::new(Arc::new(shared), member, phases, 0, 0, 0.0);
    assert!(listener.subscribe().await.is_err(), "it broke off");
    listener.subscribe().await.unwrap();
    assert_eq!(asked.await.unwrap(), ["", "cursor=seven"]);
}

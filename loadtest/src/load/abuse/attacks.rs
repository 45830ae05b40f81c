//! The kinds of abuse. Each tries at its rate, whatever the relay does about it, and
//! counts what became of the attempts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::outcome::{Outcome, Outcomes};
use crate::frame::Framing;
use crate::load::listener::{Phase, Stage};
use crate::load::world::Member;
use crate::subscription::{Subscribe, Subscription, SubscriptionError};
use crate::xrpc_client::{HttpVersion, NAMESPACE, TOKEN_LIFE};

/// Attempts of one kind under way: more would need more file descriptors than a
/// process has by default. Those beyond wait.
const AT_ONCE: usize = 2048;

/// A connection that still stands by then was let in.
const LET_IN: Duration = Duration::from_millis(500);

const PATIENCE: Duration = Duration::from_secs(10);

/// What an oversize body says it is, and how much of it is sent.
const BODY_SAID: usize = 64 * 1024 * 1024;
const BODY_SENT: usize = 64 * 1024;

/// After a refusal, who floods a socket tries to open another.
const AGAIN: Duration = Duration::from_millis(200);

/// Attempts at a rate until the run is ending.
async fn flood<A, F>(rate: f64, phase: watch::Receiver<Phase>, attempt: A) -> Outcomes
where
    A: Fn() -> F,
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut outcomes = Outcomes::new();
    if rate <= 0.0 {
        return outcomes;
    }
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut attempts = JoinSet::new();
    let mut due = Instant::now();
    while !is_ending(&phase) {
        sleep_until(due).await;
        due += Duration::from_secs_f64(1.0 / rate);
        // The semaphore is never closed.
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        let attempt = attempt();
        attempts.spawn(async move {
            let outcome = attempt.await;
            drop(permit);
            outcome
        });
        while let Some(done) = attempts.try_join_next() {
            *outcomes.entry(done.unwrap_or(Outcome::Other)).or_default() += 1;
        }
    }
    while let Some(done) = attempts.join_next().await {
        *outcomes.entry(done.unwrap_or(Outcome::Other)).or_default() += 1;
    }
    outcomes
}

fn is_ending(phase: &watch::Receiver<Phase>) -> bool {
    phase.borrow().stage >= Stage::Ending
}

pub(super) async fn until_ending(mut phase: watch::Receiver<Phase>) {
    // Whoever announces phases is gone: then it is over, too.
    let _ = phase.wait_for(|phase| phase.stage >= Stage::Ending).await;
}

/// Connections that say nothing, held for as long as the relay bears them.
pub(super) async fn connections(
    member: Member,
    rate: f64,
    phase: watch::Receiver<Phase>,
) -> Outcomes {
    flood(rate, phase.clone(), || {
        let (relay, phase) = (Arc::clone(&member.relay), phase.clone());
        async move {
            let Ok(mut stream) = relay.connect_tcp().await else {
                return Outcome::Closed;
            };
            let mut byte = [0];
            if timeout(LET_IN, stream.read(&mut byte)).await.is_ok() {
                return Outcome::Closed;
            }
            tokio::select! {
                _ = stream.read(&mut byte) => {}
                () = until_ending(phase) => {}
            }
            Outcome::Served
        }
    })
    .await
}

/// Tokens whose signature does not fit the account's key.
pub(super) async fn bad_tokens(
    member: Member,
    rate: f64,
    phase: watch::Receiver<Phase>,
) -> Outcomes {
    let client = Arc::new(member.client(HttpVersion::One));
    flood(rate, phase, || {
        let client = Arc::clone(&client);
        async move { Outcome::of_call(&client.query::<Value>("getConvos", &[]).await) }
    })
    .await
}

/// Bodies that say they are longer than any may be.
pub(super) async fn bodies(member: Member, rate: f64, phase: watch::Receiver<Phase>) -> Outcomes {
    flood(rate, phase, || oversize_body(member.clone())).await
}

async fn oversize_body(member: Member) -> Outcome {
    let call = format!("{NAMESPACE}.sendMessage");
    let audience = member.relay.service_did();
    let Ok(token) = member.account.service_token(audience, &call, TOKEN_LIFE) else {
        return Outcome::Other;
    };
    let mut stream = match member.relay.connect(&[b"http/1.1"]).await {
        Ok(stream) => stream,
        Err(error) => return Outcome::of_connect(&error),
    };
    let head = format!(
        "POST /xrpc/{call} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {BODY_SAID}\r\n\r\n",
        member.relay.authority()
    );
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        // A relay that has refused need not read this.
        let _ = stream.write_all(&vec![b' '; BODY_SENT]).await;
        let mut status = [0; b"HTTP/1.1 413".len()];
        stream.read_exact(&mut status).await?;
        Ok::<_, std::io::Error>(status)
    };
    match timeout(PATIENCE, exchange).await {
        Ok(Ok(status)) => {
            let code = status.get(b"HTTP/1.1 ".len()..).unwrap_or_default();
            StatusCode::from_bytes(code).map_or(Outcome::Other, Outcome::of_status)
        }
        Ok(Err(_)) => Outcome::Closed,
        Err(_) => Outcome::Silence,
    }
}

/// One account opens socket after socket, and keeps what it gets.
pub(super) async fn sockets(member: Member, rate: f64, phase: watch::Receiver<Phase>) -> Outcomes {
    flood(rate, phase.clone(), || {
        let (member, phase) = (member.clone(), phase.clone());
        async move {
            match subscribe(&member).await {
                Ok(socket) => {
                    until_ending(phase).await;
                    drop(socket);
                    Outcome::Served
                }
                Err(error) => Outcome::of_subscription(&error),
            }
        }
    })
    .await
}

async fn subscribe(member: &Member) -> Result<Subscription, SubscriptionError> {
    let subscribe = Subscribe::to_all(Framing::Json);
    Subscription::open(&member.relay, &member.account, subscribe).await
}

/// Frames on one socket, and on the next when the relay has closed it.
pub(super) async fn frames(member: Member, rate: f64, phase: watch::Receiver<Phase>) -> Outcomes {
    let mut outcomes = Outcomes::new();
    while rate > 0.0 && !is_ending(&phase) {
        match subscribe(&member).await {
            Ok(socket) => flood_socket(socket, rate, &phase, &mut outcomes).await,
            Err(error) => {
                let outcome = Outcome::of_subscription(&error);
                *outcomes.entry(outcome).or_default() += 1;
            }
        }
        sleep(AGAIN).await;
    }
    outcomes
}

async fn flood_socket(
    mut socket: Subscription,
    rate: f64,
    phase: &watch::Receiver<Phase>,
    outcomes: &mut Outcomes,
) {
    let mut due = Instant::now();
    let (mut said, mut refused) = (0_u64, 0_u64);
    while !is_ending(phase) {
        let closed = match timeout_at(due, socket.next()).await {
            Ok(Ok(Some(_))) => false,
            // The stream goes on after this error, for a while.
            Ok(Err(SubscriptionError::Ended(error))) if error.error == "RateLimited" => {
                refused += 1;
                false
            }
            Ok(_) => true,
            Err(_) => {
                due += Duration::from_secs_f64(1.0 / rate);
                said += 1;
                socket.say(r#"{"$type":"ping"}"#).await.is_err()
            }
        };
        if closed {
            *outcomes.entry(Outcome::SocketClosed).or_default() += 1;
            break;
        }
    }
    for (outcome, count) in [
        (Outcome::FrameRefused, refused),
        (Outcome::Served, said.saturating_sub(refused)),
    ] {
        if count > 0 {
            *outcomes.entry(outcome).or_default() += count;
        }
    }
}

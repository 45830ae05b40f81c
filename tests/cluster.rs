//! Several relays on one Postgres are one relay, whatever dies: every answered
//! send is seen exactly once, in order, by every member, while relays are killed,
//! listeners cut off, Postgres restarted and phones frozen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[path = "support/chaos.rs"]
mod chaos;
#[path = "support/database.rs"]
mod database;
#[path = "support/relay.rs"]
mod relay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chaos::{Cluster, Crowd};
use mls_relay::types::{CoarseTime, MessageId};
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::subscription::{Subscribe, Subscription};
use mls_relay_loadtest::xrpc_client::{CallError, HttpVersion, XrpcClient};
use parking_lot::Mutex;

const NODES: usize = 3;
const CONVOS: usize = 50;
const SUBSCRIBERS: usize = 200;
const SENDERS: usize = 12;
const SETTLE: Duration = Duration::from_secs(90);

/// What one subscriber has seen: the sequence numbers in the order they came, and
/// how often each message of each conversation.
#[derive(Default)]
struct History {
    last_seq: u64,
    disorder: u32,
    seen: BTreeMap<(String, String), u32>,
    resumes: u32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_send_is_seen_once_in_order_whatever_dies() {
    let crowd = Arc::new(Crowd::new(SUBSCRIBERS, CONVOS));
    let cluster = Arc::new(Cluster::start(NODES, &crowd).await);
    let (sending, listening) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(true)),
    );

    let histories: Vec<Arc<Mutex<History>>> = (0..SUBSCRIBERS).map(|_| Arc::default()).collect();
    let subscribers: Vec<_> = histories
        .iter()
        .enumerate()
        .map(|(index, history)| {
            let (cluster, crowd) = (Arc::clone(&cluster), Arc::clone(&crowd));
            let (history, listening) = (Arc::clone(history), Arc::clone(&listening));
            tokio::spawn(async move {
                subscribe(index, &cluster, &crowd, &history, &listening).await;
            })
        })
        .collect();
    let senders: Vec<_> = (0..SENDERS)
        .map(|index| {
            let (cluster, crowd) = (Arc::clone(&cluster), Arc::clone(&crowd));
            let sending = Arc::clone(&sending);
            tokio::spawn(async move { send(index, &cluster, &crowd, &sending).await })
        })
        .collect();

    cluster.torment().await;
    sending.store(false, Ordering::Relaxed);
    let mut answered = BTreeSet::new();
    for sender in senders {
        answered.extend(sender.await.unwrap());
    }

    // What is stored is the truth: it holds every answered send, and every member
    // sees all of it.
    let stored = cluster.stored_messages().await;
    let lost: Vec<_> = answered.difference(&stored).collect();
    assert!(lost.is_empty(), "{} answered sends were lost", lost.len());
    assert!(
        answered.len() > 200,
        "only {} sends were answered",
        answered.len()
    );
    let deadline = Instant::now() + SETTLE;
    let expected: Vec<BTreeSet<_>> = (0..SUBSCRIBERS)
        .map(|index| {
            let mine = crowd.convos_of(index);
            stored
                .iter()
                .filter(|(convo, _)| mine.contains(convo))
                .cloned()
                .collect()
        })
        .collect();
    loop {
        let behind = histories
            .iter()
            .zip(&expected)
            .filter(|(history, expected)| history.lock().seen.len() < expected.len())
            .count();
        if behind == 0 {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{behind} subscribers did not catch up"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    listening.store(false, Ordering::Relaxed);
    for subscriber in subscribers {
        subscriber.await.unwrap();
    }
    let mut resumes = 0;
    for (history, expected) in histories.iter().zip(&expected) {
        let history = history.lock();
        assert_eq!(history.disorder, 0, "cursors came out of order");
        let seen: BTreeSet<_> = history.seen.keys().cloned().collect();
        assert_eq!(&seen, expected);
        assert!(
            history.seen.values().all(|times| *times == 1),
            "a message came twice"
        );
        resumes += history.resumes;
    }
    assert!(resumes > 100, "the faults were not felt: {resumes} resumes");
    println!(
        "{} sends answered, {} stored, {resumes} resumes",
        answered.len(),
        stored.len()
    );
}

/// Holds a subscription, resuming from its last cursor on whatever node, until told
/// to end. Now and then it does not read for a while.
async fn subscribe(
    index: usize,
    cluster: &Cluster,
    crowd: &Crowd,
    history: &Mutex<History>,
    listening: &AtomicBool,
) {
    let account = crowd.account(index);
    let framing = if index.is_multiple_of(2) {
        Framing::DagCbor
    } else {
        Framing::Json
    };
    let mut cursor = Some("0".to_owned());
    let mut turn = index;
    while listening.load(Ordering::Relaxed) {
        turn += 1;
        let wanted = Subscribe {
            cursor: cursor.clone(),
            ..Subscribe::to_all(framing)
        };
        let node = cluster.node(turn);
        let Ok(mut subscription) = Subscription::open(&node, &account, wanted).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let mut read = 0_usize;
        while listening.load(Ordering::Relaxed) {
            let next = tokio::time::timeout(Duration::from_millis(500), subscription.next()).await;
            let event = match next {
                Err(_) => continue,
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None) | Err(_)) => break,
            };
            if !event.is_durable() {
                continue;
            }
            read += 1;
            if index.is_multiple_of(10) && read.is_multiple_of(40) {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            let mut history = history.lock();
            let seq = event.body.seq.unwrap();
            if seq <= history.last_seq {
                history.disorder += 1;
            }
            history.last_seq = seq;
            if let (Some(convo), Some(id), true) = (
                event.body.convo_id.clone(),
                event.body.message_id.clone(),
                event.is_message(),
            ) {
                *history.seen.entry((convo, id)).or_default() += 1;
            }
        }
        cursor = subscription.cursor().map(str::to_owned).or(cursor);
        history.lock().resumes += 1;
    }
}

/// Sends to random conversations until told to stop, repeating each message until
/// it is answered. Returns what was answered.
async fn send(
    index: usize,
    cluster: &Cluster,
    crowd: &Crowd,
    sending: &AtomicBool,
) -> Vec<(String, String)> {
    let mut answered = Vec::new();
    let mut turn = index * 1000;
    while sending.load(Ordering::Relaxed) {
        turn += 1;
        let member = (turn * 7 + index) % SUBSCRIBERS;
        let convos = crowd.convos_of(member);
        let convo = convos.iter().nth(turn % convos.len()).unwrap().clone();
        let id = MessageId::random(CoarseTime::from_unix_seconds(1_800_000_000));
        let input = chaos::send_message_input(&convo, id.expose());
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let client =
                XrpcClient::new(cluster.node(turn), crowd.account(member), HttpVersion::One);
            match client
                .procedure::<serde_json::Value>("sendMessage", &input)
                .await
            {
                Ok(_) => {
                    answered.push((convo, id.expose().to_owned()));
                    break;
                }
                Err(CallError::Refused { status, name, .. }) if status.as_u16() < 500 => {
                    panic!("a send was refused: {status} {name}");
                }
                Err(_) if Instant::now() < deadline => {
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("a send was not answered for a minute: {error}"),
            }
        }
    }
    answered
}

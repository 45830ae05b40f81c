//! Every subscriber of every node hears exactly its events, in order, once, from a
//! real Postgres that is cut off, stopped and crashed meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mls_relay::events::{self, Hearing, Hub, News, Subscriber};
use mls_relay::runtime::{Live, Shutdown};
use mls_relay::store::{AppendError, Store};
use mls_relay::types::{ConvoId, Cursor, Seq};
use tokio::time::{sleep, timeout};

use crate::database::Database;
use crate::relay::eventually;
use crate::store_values::{did, found, message};

const NODES: usize = 2;
const CONVOS: u8 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    store: Store,
    hub: Hub,
    _shutdown: Shutdown,
}

async fn node(database: &Database) -> Node {
    node_with(database, events::Settings::default()).await
}

async fn node_with(database: &Database, of_events: events::Settings) -> Node {
    let (store, shutdown) = database.store().await;
    let journal = Arc::new(store.clone());
    Node {
        hub: Hub::start(journal, Live::new(of_events), &shutdown),
        store,
        _shutdown: shutdown,
    }
}

fn convo(index: u8) -> ConvoId {
    ConvoId::of_group(&[index; 16]).unwrap()
}

/// Sends until told to stop; a send whose answer is lost is repeated under its id.
async fn send(store: Store, index: u8, on: Arc<AtomicBool>) -> u64 {
    let mut answered = 0;
    while on.load(Ordering::Relaxed) {
        let message = message(&convo(index), &did("alice"));
        loop {
            match store.append(message.clone()).await {
                Ok(_) => break,
                Err(AppendError::Store(_) | AppendError::Full { .. }) => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        answered += 1;
    }
    answered
}

/// Listens and, now and then, goes away and resumes, here or at the other node.
async fn listen(hubs: Vec<Hub>, filter: Option<ConvoId>, done: Arc<AtomicBool>) -> Vec<u64> {
    let mut cursor = Some(Cursor::parse("0").unwrap());
    let mut seen = Vec::new();
    let mut round = 0;
    loop {
        let subscriber = Subscriber {
            did: did("alice"),
            filter: filter.clone(),
            hydrate: false,
        };
        let hub = &hubs[round % hubs.len()];
        let mut subscription = hub.subscribe(subscriber, cursor);
        let stay = Instant::now() + Duration::from_millis(700);
        loop {
            let at_rest = done.load(Ordering::Relaxed);
            match timeout(Duration::from_millis(200), subscription.next()).await {
                Ok(Ok(News::Events(events))) => {
                    seen.extend(events.iter().map(|event| event.seq().get()));
                }
                Ok(Ok(News::Synced(_) | News::Gap(_) | News::Outdated)) => {}
                Ok(Ok(News::Ended)) => panic!("nobody was removed"),
                Ok(Err(_)) => break,
                Err(_) if at_rest => return seen,
                Err(_) => {}
            }
            if Instant::now() > stay && !at_rest {
                break;
            }
        }
        cursor = subscription.cursor();
        round += 1;
    }
}

async fn all_hear(nodes: &[Node]) {
    let hears = |node: &Node| node.hub.health().hearing() == Hearing::Ringing;
    eventually("all nodes hear", async || nodes.iter().all(hears)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_history_is_the_table_whatever_happens_to_postgres() {
    let mut database = Database::start().await;
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(node(&database).await);
    }
    for index in 0..CONVOS {
        found(&nodes[0].store, &convo(index), &did("alice")).await;
    }
    all_hear(&nodes).await;
    let (on, done) = (
        Arc::new(AtomicBool::new(true)),
        Arc::new(AtomicBool::new(false)),
    );
    let senders: Vec<_> = (0..CONVOS)
        .map(|index| {
            let store = nodes[usize::from(index) % NODES].store.clone();
            tokio::spawn(send(store, index, Arc::clone(&on)))
        })
        .collect();
    let hubs: Vec<Hub> = nodes.iter().map(|node| node.hub.clone()).collect();
    let listeners: Vec<_> = (0..6)
        .map(|index| {
            let filter = (index % 3 == 2).then(|| convo(0));
            let mut hubs = hubs.clone();
            hubs.rotate_left(index % NODES);
            let listening = listen(hubs, filter.clone(), Arc::clone(&done));
            (filter, tokio::spawn(listening))
        })
        .collect();

    for mode in ["cut", "fast", "cut", "immediate", "cut"] {
        sleep(Duration::from_millis(800)).await;
        if mode == "cut" {
            let client = database.client().await;
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()";
            // After a restart of Postgres the listeners may still be on their way back.
            eventually("somebody listens", async || {
                !client.query(sql, &[]).await.unwrap().is_empty()
            })
            .await;
        } else {
            database.down(mode);
            database.up().await;
        }
    }
    sleep(Duration::from_millis(500)).await;
    on.store(false, Ordering::Relaxed);
    let mut answered = 0;
    for sender in senders {
        answered += sender.await.unwrap();
    }
    all_hear(&nodes).await;
    let (store, head) = (&nodes[0].store, nodes[0].store.ends().await.unwrap().head);
    let table = store
        .events_between(Seq::ZERO, head, 1_000_000)
        .await
        .unwrap();
    assert!(table.len() as u64 >= answered + u64::from(CONVOS));
    done.store(true, Ordering::Relaxed);
    for (filter, listener) in listeners {
        let seen = timeout(PATIENCE, listener).await.unwrap().unwrap();
        let wanted = table.iter().filter(|row| {
            let text = row.envelope.expose();
            filter
                .as_ref()
                .is_none_or(|convo| text.contains(convo.expose()))
        });
        let wanted: Vec<u64> = wanted.map(|row| row.seq.get()).collect();
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "an event came twice");
        assert!(seen.is_sorted(), "events came out of order");
        assert_eq!(seen, wanted);
    }
}

/// As after a hand at the table, or by a release that is to come.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_cannot_be_read_is_told_as_a_gap_and_holds_up_nobody() {
    let database = Database::start().await;
    let (store, _shutdown) = database.store().await;
    found(&store, &convo(0), &did("alice")).await;
    found(&store, &convo(1), &did("alice")).await;
    let spoil = "UPDATE event_stream SET payload = '{\"from\":\"elsewhere\"}' WHERE seq = 1";
    database.client().await.batch_execute(spoil).await.unwrap();
    // The node reads it when it starts, and again for whoever comes from before it.
    let settings = events::Settings {
        backlog_max: 0,
        ..events::Settings::default()
    };
    let node = node_with(&database, settings).await;
    all_hear(std::slice::from_ref(&node)).await;
    let subscriber = Subscriber {
        did: did("alice"),
        filter: None,
        hydrate: false,
    };
    let beginning = Cursor::parse("0").unwrap();
    let mut subscription = node.hub.subscribe(subscriber, Some(beginning));
    let (mut heard, mut has_gap) = (Vec::new(), false);
    loop {
        match timeout(PATIENCE, subscription.next()).await.unwrap() {
            Ok(News::Events(events)) => heard.extend(events.iter().map(|event| event.seq().get())),
            Ok(News::Gap(_)) => has_gap = true,
            Ok(News::Synced(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((heard, has_gap), (vec![2], true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_heard_within_milliseconds_of_its_commit() {
    let database = Database::start().await;
    let node = node(&database).await;
    found(&node.store, &convo(0), &did("alice")).await;
    all_hear(std::slice::from_ref(&node)).await;
    let subscriber = Subscriber {
        did: did("alice"),
        filter: None,
        hydrate: false,
    };
    let mut subscription = node.hub.subscribe(subscriber, None);
    let first = timeout(PATIENCE, subscription.next())
        .await
        .unwrap()
        .unwrap();
    let News::Synced(standings) = first else {
        panic!("nothing comes before the end of the replay");
    };
    assert_eq!(standings.conversations.len(), 1);
    let mut best = Duration::MAX;
    for _ in 0..50 {
        let message = message(&convo(0), &did("alice"));
        node.store.append(message).await.unwrap();
        let committed = Instant::now();
        let news = timeout(PATIENCE, subscription.next())
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(news, News::Events(_)));
        best = best.min(committed.elapsed());
    }
    assert!(best < Duration::from_millis(20), "{best:?}");
}

//! A server under load: subscribers and senders connected over TLS, in a closed loop to
//! find its peak and in an open one to see its latencies.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mls_relay_loadtest::frame::Framing;
use mls_relay_loadtest::identity::Account;
use mls_relay_loadtest::load::tally::number_of;
use mls_relay_loadtest::relay::Relay;
use mls_relay_loadtest::subscription::{Subscribe, Subscription};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::people::{Conversation, Send};
use crate::processor::{Processor, Shares};
use crate::timeline::{SOCKETS, Timeline};

pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// The relay, or what it is compared with.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pid: u32,
    /// Of its Postgres.
    postmaster: u32,
    pub(crate) timeline: Arc<Timeline>,
    relay: Arc<Relay>,
    conversations: Arc<Vec<Conversation>>,
    next: AtomicUsize,
}

/// What came of an open loop.
pub(crate) struct Run {
    pub(crate) numbers: Range<usize>,
    /// Whether all was sent. The latencies of the rest would be those of the lucky.
    pub(crate) is_whole: bool,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Who used the machine for them.
    pub(crate) shares: Shares,
}

impl Server {
    /// Connects the subscribers, two a conversation.
    pub(crate) async fn connect(
        name: &'static str,
        (pid, postmaster): (u32, u32),
        relay: Arc<Relay>,
        conversations: Arc<Vec<Conversation>>,
    ) -> Self {
        let timeline = Arc::new(Timeline::new(MESSAGES_MAX));
        for conversation in conversations.iter() {
            listen(&relay, &conversation.writer, 0, &timeline).await;
            listen(&relay, &conversation.reader, 1, &timeline).await;
        }
        Self {
            name,
            pid,
            postmaster,
            timeline,
            relay,
            conversations,
            next: AtomicUsize::new(0),
        }
    }

    /// A connection of a sender, to be kept alive.
    pub(crate) async fn sender(&self) -> Sender {
        let stream = TokioIo::new(self.relay.connect(&[b"http/1.1"]).await.unwrap());
        let (sender, driver) = handshake(stream).await.unwrap();
        tokio::spawn(driver);
        sender
    }

    async fn senders(&self, count: usize) -> Vec<Sender> {
        let mut senders = Vec::new();
        for _ in 0..count {
            senders.push(self.sender().await);
        }
        senders
    }

    /// Signs so many sends, in turn through the conversations.
    pub(crate) fn prepare(&self, count: usize) -> (Range<usize>, Vec<Send>) {
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        let numbers = first..first + count;
        let sends = numbers.clone().map(|number| {
            let place = number % self.conversations.len();
            self.conversations[place].send(number, &self.relay)
        });
        let sends = sends.collect();
        (numbers, sends)
    }

    fn processor(&self) -> Processor {
        Processor::now(self.pid, self.postmaster)
    }

    /// So many senders at work until all is sent: sends a second, and who used the machine
    /// for them.
    pub(crate) async fn closed_loop(&self, senders: usize, count: usize) -> (f64, Shares) {
        let (_, sends) = self.prepare(count);
        let sends = Arc::new(Mutex::new(sends.into_iter()));
        let senders = self.senders(senders).await;
        let mut tasks = JoinSet::new();
        let before = self.processor();
        let begun = Instant::now();
        for mut sender in senders {
            let (sends, timeline) = (Arc::clone(&sends), Arc::clone(&self.timeline));
            tasks.spawn(async move {
                loop {
                    let Some(send) = sends.lock().next() else {
                        return;
                    };
                    exchange(&mut sender, send, Instant::now(), &timeline).await;
                }
            });
        }
        tasks.join_all().await;
        let took = begun.elapsed().as_secs_f64();
        let shares = self.processor().shares_since(&before);
        self.all_delivered().await;
        (count as f64 / took, shares)
    }

    /// Sends at random moments, so many a second on average, whatever the server does.
    /// What could not leave `GRACE` after the last moment is not sent any more.
    pub(crate) async fn open_loop(&self, rate: f64, run: Duration) -> Run {
        let count = (rate * run.as_secs_f64()) as usize;
        let (numbers, sends) = self.prepare(count);
        // In turn: a server closes a connection that says nothing for long.
        let senders = VecDeque::from(self.senders(SENDERS).await);
        let idle = Arc::new(Mutex::new(senders));
        let permits = Arc::new(Semaphore::new(SENDERS));
        let timeline = Arc::clone(&self.timeline);
        let handle = Handle::current();
        let before = self.processor();
        let begun = Instant::now();
        // A thread, because a runtime's timers have a resolution of 1 ms.
        let pace = move || {
            let mut due = begun;
            let mut tasks = JoinSet::new();
            for send in sends {
                due += Duration::from_secs_f64(-random().ln() / rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let (idle, permits) = (Arc::clone(&idle), Arc::clone(&permits));
                let timeline = Arc::clone(&timeline);
                let last = begun + run + GRACE;
                let task = async move {
                    let _permit = permits.acquire().await.unwrap();
                    if Instant::now() > last {
                        return;
                    }
                    let mut sender = idle.lock().pop_front().unwrap();
                    exchange(&mut sender, send, due, &timeline).await;
                    idle.lock().push_back(sender);
                };
                tasks.spawn_on(task, &handle);
            }
            tasks
        };
        let tasks = tokio::task::spawn_blocking(pace).await.unwrap();
        tasks.join_all().await;
        let answered = self.timeline.count_answered(numbers.clone());
        let run = Run {
            is_whole: answered == numbers.len(),
            numbers,
            rate: answered as f64 / begun.elapsed().as_secs_f64(),
            shares: self.processor().shares_since(&before),
        };
        self.all_delivered().await;
        run
    }

    /// One message, answered and delivered.
    pub(crate) async fn send_one(&self, sender: &mut Sender) -> usize {
        let (numbers, mut sends) = self.prepare(1);
        let send = sends.pop().unwrap();
        exchange(sender, send, Instant::now(), &self.timeline).await;
        self.all_delivered().await;
        numbers.start
    }

    /// How long a question takes that costs the server nothing: the hop over TLS and HTTP.
    pub(crate) async fn hop(&self, sender: &mut Sender) -> Duration {
        let request = Request::get("/xrpc/_health")
            .header(HOST, self.relay.authority())
            .body(Full::default())
            .unwrap();
        sender.ready().await.unwrap();
        let begun = Instant::now();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body().collect().await.unwrap();
        begun.elapsed()
    }

    /// Waits until every message that was answered is at all its sockets.
    async fn all_delivered(&self) {
        let through = self.next.load(Ordering::Relaxed);
        let expected = self.timeline.count_answered(0..through) * SOCKETS;
        let deadline = Instant::now() + PATIENCE;
        while self.timeline.deliveries() < u64::try_from(expected).unwrap() {
            assert!(Instant::now() < deadline, "{} lost events", self.name);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Subscribes, and notes what arrives from then on.
async fn listen(relay: &Arc<Relay>, account: &Account, socket: usize, timeline: &Arc<Timeline>) {
    let subscribe = Subscribe::to_all(Framing::Json);
    let mut subscription = Subscription::open(relay, account, subscribe).await.unwrap();
    while !subscription.next().await.unwrap().unwrap().is_synced() {}
    let timeline = Arc::clone(timeline);
    tokio::spawn(async move {
        // It ends with the server.
        while let Ok(Some(event)) = subscription.next().await {
            let is_message = event.is_message();
            let id = event.body.message_id.filter(|_| is_message);
            if let Some(number) = id.and_then(|id| number_of(&id)) {
                timeline.delivered(number, socket);
            }
        }
    });
}

async fn exchange(sender: &mut Sender, send: Send, due: Instant, timeline: &Timeline) {
    timeline.due(send.number, due);
    sender.ready().await.unwrap();
    let response = sender.send_request(send.request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    timeline.answered(send.number);
}

/// Between 0, which it never is, and 1.
fn random() -> f64 {
    let (bits, _) = uuid::Uuid::new_v4().as_u64_pair();
    // As many bits as an f64 holds.
    ((bits >> 11) | 1) as f64 / (1_u64 << 53) as f64
}

/// Connections of an open loop: sends on their way at once.
const SENDERS: usize = 256;
const MESSAGES_MAX: usize = 500_000;
const GRACE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(20);

//! People who send while something else is measured, and how long each send took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mls_relay::store::Store;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::node::{account, convo, message};

/// Senders that each send at their times, whatever the relay does: who is held up sends
/// the rest as soon as it can, and those count from when they were due.
pub(crate) struct Senders {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// When each send began and ended.
    sends: Mutex<Vec<(Instant, Instant)>>,
    is_paused: AtomicBool,
    is_over: AtomicBool,
}

impl Senders {
    pub(crate) fn start(store: &Store, convos: usize, len: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let send = |sender: usize| {
            let (store, shared) = (store.clone(), Arc::clone(&shared));
            async move {
                let mut due = Instant::now();
                for turn in 0.. {
                    if shared.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    if shared.is_paused.load(Ordering::Relaxed) {
                        tokio::time::sleep(PACE).await;
                        due = Instant::now();
                        continue;
                    }
                    due += PACE;
                    let begun = match due > Instant::now() {
                        true => {
                            tokio::time::sleep_until(due.into()).await;
                            Instant::now()
                        }
                        false => due,
                    };
                    // The account of a conversation's number is its member.
                    let number = (sender * 31 + turn) % convos + 1;
                    let message = message(convo(number), account(number), len);
                    store.append(message).await.unwrap();
                    shared.sends.lock().push((begun, Instant::now()));
                }
            }
        };
        Self {
            tasks: (0..SENDERS)
                .map(|sender| tokio::spawn(send(sender)))
                .collect(),
            shared,
        }
    }

    pub(crate) fn pause(&self) {
        self.shared.is_paused.store(true, Ordering::Relaxed);
        self.shared.sends.lock().clear();
    }

    /// Sends again, and waits until it is in full swing.
    pub(crate) async fn go_on(&self) {
        self.shared.is_paused.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

    /// How long those sends took that were under way between two moments.
    pub(crate) fn latencies(&self, from: Instant, until: Instant) -> Vec<Duration> {
        let sends = self.shared.sends.lock();
        let overlapping = sends
            .iter()
            .filter(|(begun, ended)| *begun < until && *ended > from);
        overlapping.map(|(begun, ended)| *ended - *begun).collect()
    }

    pub(crate) async fn stop(self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

const SENDERS: usize = 16;
/// Far from what the relay can take: the latency of a queue that is full anyway would
/// hide what comes on top.
const PACE: Duration = Duration::from_millis(8);

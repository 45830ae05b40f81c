//! Tells all nodes what has no place in the stream: who types, and ephemeral messages.
//! Never stored: notifications and nothing else, in one transaction a few times a second
//! at most, however much there is to tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::ear::PASSING;
use super::journal::Journal;
use crate::runtime::Shutdown;
use crate::store::StoreError;
use crate::wire::Passing;

/// Why something was not passed on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PassingError {
    #[error("too much waits to be passed on")]
    Full,
    #[error("the database does not pass it on")]
    Store(#[from] StoreError),
}

/// Something to tell, and who wants to know whether it was told.
#[derive(Debug)]
pub(super) struct ToTell {
    pub(super) passing: Passing,
    pub(super) told: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Queues something and waits until it is told. Never waits for a place.
pub(super) async fn tell(
    queue: &mpsc::Sender<ToTell>,
    passing: Passing,
) -> Result<(), PassingError> {
    let (told, heard) = oneshot::channel();
    let told = Some(told);
    let queued = queue.try_send(ToTell { passing, told });
    queued.map_err(|_| PassingError::Full)?;
    // The process ends when nobody answers.
    Ok(heard.await.unwrap_or(Err(StoreError::Unavailable))?)
}

pub(super) async fn run(
    journal: Arc<dyn Journal>,
    every: Duration,
    mut queue: mpsc::Receiver<ToTell>,
    shutdown: Shutdown,
) {
    let mut batch = Vec::new();
    let tell = async {
        while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let payloads = Passing::payloads(batch.iter().map(|one| &one.passing));
            let told = journal.notify(PASSING, &payloads).await;
            if told.is_ok() {
                metrics::counter!("relay_events_passing_notifications_total")
                    .increment(payloads.len() as u64);
            }
            for one in batch.drain(..) {
                if let Some(waiting) = one.told {
                    let _ = waiting.send(told.clone());
                }
            }
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = shutdown.stopping() => {}
        () = tell => {}
    }
}

/// At most about 400 kB in one transaction, if all are ephemeral messages of the
/// largest size.
const BATCH_MAX: usize = 64;

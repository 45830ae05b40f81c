//! Tells all nodes what has no place in the stream: who types, and ephemeral messages.
//! Never stored: notifications and nothing else, in one transaction each `passing_every` at
//! most, however much there is to tell.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::ear::PASSING;
use super::journal::Journal;
use crate::runtime::queue as queues;
use crate::store::StoreError;
use crate::wire::{Passing, Typing};

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
    let queued = queues::offer(queue, QUEUE, ToTell { passing, told });
    queued.map_err(|_| PassingError::Full)?;
    // The process ends when nobody answers.
    Ok(heard.await.unwrap_or(Err(StoreError::Unavailable))?)
}

/// Queues what is not worth a wait, while half of the places are free: however many type,
/// ephemeral messages find one.
pub(super) fn mention(queue: &mpsc::Sender<ToTell>, typing: Typing) {
    let (passing, told) = (Passing::Typing(typing), None);
    match queue.capacity() > queue.max_capacity() / 2 {
        true => drop(queues::offer(queue, QUEUE, ToTell { passing, told })),
        false => queues::full(QUEUE, 1),
    }
}

pub(super) async fn run(
    journal: Arc<dyn Journal>,
    every: Duration,
    mut queue: mpsc::Receiver<ToTell>,
) {
    let mut batch = Vec::new();
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
}

/// By which it is counted when it is full.
pub(super) const QUEUE: &str = "passing";

/// At most about 400 kB in one transaction, if all are ephemeral messages of the
/// largest size.
const BATCH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ConvoId, Did};

    fn typing() -> Typing {
        Typing {
            convo_id: ConvoId::of_group(b"group").unwrap(),
            did: Did::parse("did:plc:abc").unwrap(),
            is_typing: true,
        }
    }

    #[test]
    fn however_many_type_half_of_the_places_are_for_messages() {
        for (places, notices) in [(1, 1), (2, 1), (256, 128)] {
            let (queue, waiting) = mpsc::channel(places);
            for _ in 0..1_000 {
                mention(&queue, typing());
            }
            assert_eq!(waiting.len(), notices, "of {places}");
        }
    }
}

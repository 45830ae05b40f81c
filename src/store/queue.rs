//! What many ask Postgres for at once, with an end to the wait for it.

use std::time::Duration;

use tokio::time::timeout;

use super::{Settings, StoreError};
use crate::runtime::Batcher;

/// One answer or failure for each item.
#[derive(Debug)]
pub(super) struct Queue<I, A> {
    batches: Batcher<I, Result<A, StoreError>>,
    patience: Duration,
}

impl<I: Send + 'static, A: Send + 'static> Queue<I, A> {
    pub(super) fn new(settings: &Settings, batches: Batcher<I, Result<A, StoreError>>) -> Self {
        Self {
            batches,
            patience: settings.batch_patience(),
        }
    }

    pub(super) async fn ask(&self, item: I) -> Result<A, StoreError> {
        let answer = timeout(self.patience, self.batches.serve(item)).await;
        let answer = answer.map_err(|_| StoreError::Timeout)?;
        answer.unwrap_or(Err(StoreError::Unavailable))
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::runtime::{Bounds, Shutdown};

    #[tokio::test(start_paused = true)]
    async fn whoever_is_behind_a_batch_that_does_not_end_is_told_so_in_time() {
        let bounds = Bounds {
            name: "a test",
            queue_max: 2,
            batch_max: 1,
            weight_max: 1,
        };
        let shutdown = Shutdown::default();
        let batches = Batcher::start(&shutdown, bounds, |_| 1, |_: Vec<()>| pending());
        let settings = Settings::default();
        let queue: Queue<(), ()> = Queue::new(&settings, batches);
        let both = async { tokio::join!(queue.ask(()), queue.ask(())) };
        let told = timeout(settings.batch_patience() * 2, both).await;
        let late = Err(StoreError::Timeout);
        assert_eq!(told.unwrap(), (late.clone(), late));
    }
}

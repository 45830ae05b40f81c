//! What many ask Postgres for at once, read for all of them in one statement, with an end to
//! the wait for it.

use std::time::Duration;

use tokio::time::timeout;

use super::{Settings, StoreError};
use crate::runtime::{Batcher, Bounds, Shutdown};

/// Of items that weigh alike.
pub(super) fn bounds(name: &'static str, queue_max: usize, batch_max: usize) -> Bounds {
    Bounds {
        name,
        queue_max,
        batch_max,
        weight_max: usize::MAX,
    }
}

/// One answer or failure for each item.
#[derive(Debug)]
pub(super) struct Queue<I, A> {
    batches: Batcher<I, Result<A, StoreError>>,
    patience: Duration,
}

impl<I: Send + 'static, A: Send + 'static> Queue<I, A> {
    /// Where `read` gives the answers to a batch in order, or fails for all of it.
    pub(super) fn start<F>(
        bounds: Bounds,
        settings: &Settings,
        shutdown: &Shutdown,
        read: impl Fn(Vec<I>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Vec<A>, StoreError>> + Send + 'static,
    {
        let serve = move |batch: Vec<I>| {
            let (count, reading) = (batch.len(), read(batch));
            async move {
                match reading.await {
                    Ok(answers) => answers.into_iter().map(Ok).collect(),
                    Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
                }
            }
        };
        Self {
            batches: Batcher::start(shutdown, bounds, |_| 1, serve),
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

    #[tokio::test(start_paused = true)]
    async fn whoever_is_behind_a_batch_that_does_not_end_is_told_so_in_time() {
        let bounds = bounds("a test", 2, 1);
        let shutdown = Shutdown::default();
        let settings = Settings::default();
        let queue: Queue<(), ()> = Queue::start(bounds, &settings, &shutdown, |_| pending());
        let both = async { tokio::join!(queue.ask(()), queue.ask(())) };
        let told = timeout(settings.batch_patience() * 2, both).await;
        let late = Err(StoreError::Timeout);
        assert_eq!(told.unwrap(), (late.clone(), late));
    }
}

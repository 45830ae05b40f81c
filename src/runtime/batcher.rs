//! Natural batching: whatever arrived while the last batch was under way is the
//! next batch. No timer, so that an idle node serves a lone item at once.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

use super::{Shutdown, queue, survive};

/// The bounded queue in front of one worker that serves items in batches.
#[derive(Debug)]
pub(crate) struct Batcher<I, A> {
    name: &'static str,
    queue: mpsc::Sender<Waiting<I, A>>,
}

/// How much may wait and how much goes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// By which a full queue is counted.
    pub(crate) name: &'static str,
    pub(crate) queue_max: usize,
    pub(crate) batch_max: usize,
    /// Bounds the sum of the items' weights; one item alone may exceed it.
    pub(crate) weight_max: usize,
}

/// Why an item was not served at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotServed {
    QueueFull,
    /// By a panic, or with the process.
    Stopped,
}

#[derive(Debug)]
struct Waiting<I, A> {
    item: I,
    answer: oneshot::Sender<A>,
}

impl<I: Send + 'static, A: Send + 'static> Batcher<I, A> {
    /// Starts the worker. `serve` must give one answer per item, in order; `weigh`
    /// says how heavy an item is.
    pub(crate) fn start<S, F>(
        shutdown: &Shutdown,
        bounds: Bounds,
        weigh: fn(&I) -> usize,
        serve: S,
    ) -> Self
    where
        S: Fn(Vec<I>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, waiting) = mpsc::channel(bounds.queue_max);
        shutdown.spawn_vital(work(waiting, bounds, weigh, serve));
        Self {
            name: bounds.name,
            queue,
        }
    }

    /// Queues an item and waits for its answer. Never waits for a place.
    pub(crate) async fn serve(&self, item: I) -> Result<A, NotServed> {
        let (answer, served) = oneshot::channel();
        let queued = queue::offer(&self.queue, self.name, Waiting { item, answer });
        queued.map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotServed::QueueFull,
            mpsc::error::TrySendError::Closed(_) => NotServed::Stopped,
        })?;
        served.await.map_err(|_| NotServed::Stopped)
    }

    /// Items waiting now, for a metric.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

async fn work<I, A, S, F>(
    mut waiting: mpsc::Receiver<Waiting<I, A>>,
    bounds: Bounds,
    weigh: fn(&I) -> usize,
    serve: S,
) where
    S: Fn(Vec<I>) -> F,
    F: Future<Output = Vec<A>>,
{
    // An item that would have made the last batch too heavy opens the next.
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        // Nobody waits for it any more.
        if first.answer.is_closed() {
            continue;
        }
        let mut weight = weigh(&first.item);
        let mut batch = vec![first];
        while batch.len() < bounds.batch_max {
            let Ok(next) = waiting.try_recv() else { break };
            if next.answer.is_closed() {
                continue;
            }
            let more = weigh(&next.item);
            if weight + more > bounds.weight_max {
                held = Some(next);
                break;
            }
            weight += more;
            batch.push(next);
        }
        let (items, senders): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|w| (w.item, w.answer)).unzip();
        // A batch that panics takes its own items with it, and nobody else's.
        let served = survive(async { serve(items).await }).await;
        for (sender, answer) in senders.into_iter().zip(served.unwrap_or_default()) {
            // Whoever has hung up meanwhile: the work is done all the same.
            let _ = sender.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    fn bounds() -> Bounds {
        Bounds {
            name: "of a test",
            queue_max: 8,
            batch_max: 3,
            weight_max: 10,
        }
    }

    /// A batcher whose worker answers with the batch's size, once allowed.
    fn gated(bounds: Bounds) -> (Arc<Batcher<usize, usize>>, Arc<Semaphore>) {
        let gate = Arc::new(Semaphore::new(0));
        let pass = Arc::clone(&gate);
        let batcher = Batcher::start(
            &Shutdown::default(),
            bounds,
            |w| *w,
            move |items| {
                let pass = Arc::clone(&pass);
                async move {
                    pass.acquire().await.unwrap().forget();
                    vec![items.len(); items.len()]
                }
            },
        );
        (Arc::new(batcher), gate)
    }

    async fn enqueue(
        batcher: &Arc<Batcher<usize, usize>>,
        weight: usize,
    ) -> tokio::task::JoinHandle<Result<usize, NotServed>> {
        let one = Arc::clone(batcher);
        let task = tokio::spawn(async move { one.serve(weight).await });
        tokio::task::yield_now().await;
        task
    }

    #[tokio::test]
    async fn a_lone_item_goes_at_once_and_those_that_waited_go_together() {
        let (batcher, gate) = gated(bounds());
        let lone = enqueue(&batcher, 1).await;
        let mut together = Vec::new();
        for _ in 0..3 {
            together.push(enqueue(&batcher, 1).await);
        }
        gate.add_permits(2);
        assert_eq!(lone.await.unwrap(), Ok(1));
        for item in together {
            assert_eq!(item.await.unwrap(), Ok(3));
        }
    }

    #[tokio::test]
    async fn a_batch_is_bounded_by_weight_and_a_heavy_item_goes_alone() {
        let (batcher, gate) = gated(bounds());
        let lone = enqueue(&batcher, 1).await;
        let light = enqueue(&batcher, 6).await;
        let heavy = enqueue(&batcher, 50).await;
        gate.add_permits(3);
        assert_eq!(lone.await.unwrap(), Ok(1));
        assert_eq!(light.await.unwrap(), Ok(1));
        assert_eq!(heavy.await.unwrap(), Ok(1));
    }

    #[tokio::test]
    async fn whoever_hung_up_before_its_turn_is_not_served() {
        let (batcher, gate) = gated(bounds());
        let lone = enqueue(&batcher, 1).await;
        let (gone, stays) = (enqueue(&batcher, 1).await, enqueue(&batcher, 1).await);
        gone.abort();
        gone.await.unwrap_err();
        gate.add_permits(2);
        assert_eq!(lone.await.unwrap(), Ok(1));
        assert_eq!(stays.await.unwrap(), Ok(1));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let (batcher, _gate) = gated(Bounds {
            queue_max: 1,
            ..bounds()
        });
        let _under_way = enqueue(&batcher, 1).await;
        let _queued = enqueue(&batcher, 1).await;
        assert_eq!(batcher.serve(1).await, Err(NotServed::QueueFull));
    }

    #[tokio::test]
    async fn a_panic_takes_its_own_batch_and_no_later_one() {
        let batcher = Batcher::start(
            &Shutdown::default(),
            bounds(),
            |w| *w,
            |items: Vec<usize>| async move {
                assert!(!items.contains(&7), "a fault that one item meets");
                items
            },
        );
        assert_eq!(batcher.serve(1).await, Ok(1));
        assert_eq!(batcher.serve(7).await, Err(NotServed::Stopped));
        assert_eq!(batcher.serve(2).await, Ok(2));
    }
}

//! What is counted where a queue is full. Each has a bound, and each says so here when it
//! bites: `docs/metrics.md` lists them.

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::{SendError, TrySendError};

/// One queue met its bound `times` times: something was refused, dropped, or has to wait.
pub(crate) fn full(queue: &'static str, times: u64) {
    metrics::counter!("relay_queue_full_total", "queue" => queue).increment(times);
}

/// Puts something into the queue if there is a place.
pub(crate) fn offer<T>(
    sender: &Sender<T>,
    queue: &'static str,
    item: T,
) -> Result<(), TrySendError<T>> {
    let sent = sender.try_send(item);
    if let Err(TrySendError::Full(_)) = sent {
        full(queue, 1);
    }
    sent
}

/// Puts something into the queue, and waits for a place if there is none.
pub(crate) async fn send<T>(
    sender: &Sender<T>,
    queue: &'static str,
    item: T,
) -> Result<(), SendError<T>> {
    match offer(sender, queue, item) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(item)) => sender.send(item).await,
        Err(TrySendError::Closed(item)) => Err(SendError(item)),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::sync::mpsc;

    use super::*;

    #[test]
    fn a_full_queue_is_counted_by_its_name_whether_one_waits_or_not() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let (sender, mut receiver) = mpsc::channel(1);
            assert!(offer(&sender, "a", 1).is_ok());
            assert!(offer(&sender, "a", 2).is_err());
            let mut waiting = Box::pin(send(&sender, "b", 3));
            assert!(waiting.as_mut().now_or_never().is_none());
            assert_eq!(receiver.try_recv(), Ok(1));
            assert!(waiting.now_or_never().unwrap().is_ok());
            drop(receiver);
            assert!(offer(&sender, "c", 4).is_err());
        });
        let counted = recorder.handle().render();
        for line in [
            "relay_queue_full_total{queue=\"a\"} 1",
            "relay_queue_full_total{queue=\"b\"} 1",
        ] {
            assert!(counted.contains(line), "{counted}");
        }
        assert!(!counted.contains("\"c\""), "who has gone is not full");
    }
}

//! Tells all nodes who types. Never stored: a notification and nothing else, a
//! few times a second at most, however many type.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::ear::TYPING;
use super::journal::Journal;
use crate::runtime::Shutdown;
use crate::wire::Typing;

pub(super) async fn run(
    journal: Arc<dyn Journal>,
    every: Duration,
    mut queue: mpsc::Receiver<Typing>,
    shutdown: Shutdown,
) {
    let mut batch = Vec::new();
    let tell = async {
        while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let payload = Typing::list_to_json(&batch);
            batch.clear();
            // If it fails, nobody types: no loss.
            if journal.notify(TYPING, &payload).await.is_ok() {
                metrics::counter!("relay_events_typing_notifications_total").increment(1);
            }
            tokio::time::sleep(every).await;
        }
    };
    tokio::select! {
        () = shutdown.stopping() => {}
        () = tell => {}
    }
}

/// A notification holds 7,999 bytes, and one entry at most 700: the longest DID,
/// the longest conversation id and 60 of JSON.
const BATCH_MAX: usize = 11;

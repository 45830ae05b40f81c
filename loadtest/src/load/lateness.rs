//! How late this program is by itself: what waits here for a processor looks like the
//! relay's latency. A share of the processors cannot tell: who gets none uses none.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use super::listener::Shared;

const INTERVAL: Duration = Duration::from_millis(10);

/// Does next to nothing at moments that are known, and records how late. What was missed
/// meanwhile counts as well, each from its own moment.
pub(super) async fn watch_self(shared: Arc<Shared>) {
    let mut ticks = interval(INTERVAL);
    loop {
        let due = ticks.tick().await;
        shared.lateness.record(0, due.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Schedule;
    use super::*;

    #[tokio::test]
    async fn a_program_that_gets_no_processor_for_a_while_knows_it() {
        let shared = Arc::new(Shared::new(Schedule::new(0, 1)).unwrap());
        let watch = tokio::spawn(watch_self(Arc::clone(&shared)));
        tokio::time::sleep(INTERVAL * 2).await;
        // The runtime of a test has one thread.
        std::thread::sleep(Duration::from_millis(300));
        tokio::time::sleep(INTERVAL * 2).await;
        watch.abort();
        let late = shared.lateness.sum().unwrap();
        assert!(late.max() >= 250_000, "{}", late.max());
        let missed = late.count_between(50_000, 1_000_000);
        assert!(missed >= 20, "{missed}");
    }
}

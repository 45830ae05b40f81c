//! The end of a run: what has not come yet may still come.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::listener::Shared;
use super::pace::Stillness;
use super::scenario::Scenario;
use super::socket_tally::Numbers;
use super::writer::Sent;

/// How long nothing may come after the last message before the rest is lost.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the answer to a message was lost, it may come all the same: what has not come
/// after a pause of this length does not come.
const QUIET: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(50);

/// Waits until everything that must come has come, and who was cut off is back.
pub(super) async fn wait_for_the_rest(
    scenario: &Scenario,
    shared: &Shared,
    sent: &Sent,
    say: &mut impl FnMut(&str),
) {
    let taken: u64 = sent.taken.iter().map(Numbers::count).sum();
    let expected = taken * scenario.sockets_of_a_conversation();
    let all = scenario.total_sockets() as u64;
    let begin = Instant::now();
    let (mut events, mut sockets) = (Stillness::from(begin), Stillness::from(begin));
    loop {
        let now = shared.counters.delivered.load(Ordering::Relaxed);
        let live = shared.counters.live.load(Ordering::Relaxed);
        say(&format!(
            "waiting for the last events: {now}/{expected}, {live}/{all} sockets live"
        ));
        let still = events.at(now, Instant::now());
        let is_complete = now >= expected && (sent.failed == 0 || still > QUIET);
        let is_over = still.min(sockets.at(live, Instant::now())) > PATIENCE;
        if (is_complete && live >= all) || is_over {
            return;
        }
        sleep(POLL).await;
    }
}

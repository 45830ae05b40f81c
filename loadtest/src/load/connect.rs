//! Everyone subscribes, at the scenario's pace.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use super::LoadError;
use super::listener::{Listener, Phase, Shared};
use super::pace::Stillness;
use super::scenario::Scenario;
use super::socket_tally::SocketTally;
use super::world::Conversation;

/// How long nobody may come before the rest is given up.
const PATIENCE: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(50);

/// Opens all subscriptions and waits until they are live.
pub(super) async fn connect(
    scenario: &Scenario,
    conversations: &[Conversation],
    shared: &Arc<Shared>,
    phase: &watch::Receiver<Phase>,
    say: &mut impl FnMut(&str),
) -> Result<JoinSet<SocketTally>, LoadError> {
    let mut sockets = JoinSet::new();
    let total = scenario.total_sockets();
    let storm_share = scenario.storm.map_or(0.0, |storm| storm.share);
    let live = || shared.counters.live.load(Ordering::Relaxed);
    let start = Instant::now();
    for (place, conversation) in conversations.iter().enumerate() {
        for member in &conversation.members {
            for _ in 0..scenario.sockets {
                let number = sockets.len();
                let due = Duration::from_secs_f64(number as f64 / scenario.connect_rate);
                sleep_until((start + due).into()).await;
                let listener = Listener::new(
                    Arc::clone(shared),
                    member.clone(),
                    phase.clone(),
                    number,
                    place,
                    scenario.slow,
                );
                sockets.spawn(listener.run(storm_share));
                say(&format!("{}/{total} subscribed", live()));
            }
        }
    }
    let mut stillness = Stillness::from(Instant::now());
    while live() != total as u64 {
        if stillness.at(live(), Instant::now()) > PATIENCE {
            return Err(LoadError::Subscribe {
                live: live(),
                sockets: total,
                first_refusal: shared.first_refusal.get().cloned(),
            });
        }
        say(&format!("{}/{total} subscribed", live()));
        sleep(POLL).await;
    }
    Ok(sockets)
}

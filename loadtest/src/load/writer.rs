//! The messages of a load, each at its time: an open loop, which does not wait for
//! the relay. A message that leaves late is late from when it was due, so that a
//! stalled relay cannot hide its stall.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::LoadError;
use super::listener::Shared;
use super::pace::until;
use super::scenario::Scenario;
use super::socket_tally::Numbers;
use super::stop::Stop;
use super::tally::{Latencies, Place, count, message_id};
use super::world::Conversation;
use crate::xrpc_client::CallError;

/// Messages on their way at once. Behind them the others wait, and grow late.
pub(super) const IN_FLIGHT: usize = 256;

/// The answer of sendMessage, of which nothing is needed here.
#[derive(Deserialize)]
struct Taken {}

/// What became of the messages.
#[derive(Debug)]
pub(super) struct Sent {
    /// Those that the relay took, by conversation.
    pub taken: Vec<Numbers>,
    pub failed: u64,
    /// The reason of the first that failed.
    pub first_failure: Option<CallError>,
    /// Messages that found as many under way as there may be.
    pub held_back: u64,
    /// The rest was not sent, because the run was told to stop.
    pub is_cut_short: bool,
}

/// What is to be sent, and where it is noted.
pub(super) struct Load<'a> {
    pub scenario: &'a Scenario,
    pub shared: &'a Arc<Shared>,
    pub latencies: &'a Arc<Latencies>,
    pub stop: &'a Stop,
}

impl Load<'_> {
    /// Sends everything that is due, until it is told to stop.
    pub(super) async fn write(
        &self,
        conversations: &mut [Conversation],
    ) -> Result<Sent, LoadError> {
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut sends = JoinSet::new();
        let mut sent = Sent {
            taken: vec![Numbers::default(); conversations.len()],
            failed: 0,
            first_failure: None,
            held_back: 0,
            is_cut_short: false,
        };
        // How long messages were held back since one was last due in time: so much of what
        // follows is late because of the relay.
        let mut held = Duration::ZERO;
        let start = Instant::now();
        self.stop.heed();
        for number in 0..self.scenario.messages() {
            let due = start + self.scenario.due(number);
            if due > Instant::now() {
                held = Duration::ZERO;
            }
            if self.is_cut_short_before(due).await? {
                sent.is_cut_short = true;
                break;
            }
            let late = due.elapsed().saturating_sub(held);
            self.shared.lateness.record(number, late);
            self.shared.schedule.set(number, due);
            count(&self.shared.counters.due);
            let place = self.shared.schedule.place(number);
            let Some(conversation) = conversations.get_mut(place.conversation) else {
                break;
            };
            let input = conversation.writer.seal(&message_id(number), b"load")?;
            let client = Arc::clone(conversation.writer.client());
            let (shared, latencies) = (Arc::clone(self.shared), Arc::clone(self.latencies));
            let asked = Instant::now();
            sent.held_back += u64::from(permits.available_permits() == 0);
            // The semaphore is never closed.
            let permit = Arc::clone(&permits).acquire_owned().await.ok();
            held += asked.elapsed();
            sends.spawn(async move {
                let answer = client.procedure::<Taken>("sendMessage", &input).await;
                drop(permit);
                match &answer {
                    Ok(_) => {
                        latencies.record(number, due.elapsed());
                        count(&shared.counters.sent);
                    }
                    // It says nothing of how fast a message is taken.
                    Err(_) => count(&shared.counters.failed),
                }
                (place, answer.map(drop))
            });
            while let Some(done) = sends.try_join_next() {
                sent.count(done?);
            }
        }
        while let Some(done) = sends.join_next().await {
            sent.count(done?);
        }
        // What has no message lasts as long as one that has.
        let end = start + self.scenario.duration();
        if !sent.is_cut_short {
            sent.is_cut_short = self.is_cut_short_before(end).await?;
        }
        Ok(sent)
    }

    /// Waits for a moment. Whether it was told to stop instead.
    async fn is_cut_short_before(&self, due: Instant) -> Result<bool, JoinError> {
        tokio::select! {
            biased;
            () = self.stop.told() => Ok(true),
            waited = until(due) => waited.map(|()| false),
        }
    }
}

impl Sent {
    fn count(&mut self, (place, answer): (Place, Result<(), CallError>)) {
        match answer {
            Ok(()) => {
                if let Some(taken) = self.taken.get_mut(place.conversation) {
                    taken.insert(place.nth);
                }
            }
            Err(error) => {
                self.failed += 1;
                self.first_failure.get_or_insert(error);
            }
        }
    }
}

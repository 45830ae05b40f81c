//! Reads pages of the past for all sessions that wait for one: one reading at a time, each
//! of what was wanted while the last was under way. After a restart thousands come back.

use std::sync::Arc;

use metrics::counter;

use super::journal::Journal;
use super::runs::Reading;
use super::settings::Settings;
use crate::runtime::{Batcher, Bounds, Live, NotServed, Shutdown};
use crate::store::{Run, StoreError};
use crate::types::unprintable;

type Answer = Result<Arc<Reading>, StoreError>;

pub(super) struct Replays(Batcher<Arc<[Run]>, Answer>);

unprintable!(Replays);

impl Replays {
    pub(super) fn start(
        journal: Arc<dyn Journal>,
        settings: Live<Settings>,
        shutdown: &Shutdown,
    ) -> Self {
        let now = settings.snapshot();
        let bounds = Bounds {
            name: "replays",
            queue_max: now.reads_queue_max,
            batch_max: now.reads_queue_max,
            weight_max: now.replay_rows_max as usize / ROWS_EACH,
        };
        let serve = move |batch: Vec<Arc<[Run]>>| {
            let (journal, settings) = (Arc::clone(&journal), settings.snapshot());
            async move {
                let wanted = batch.iter().flat_map(|runs| runs.iter());
                let reading = read(&*journal, &settings, Reading::of(wanted)).await;
                vec![reading.map(Arc::new); batch.len()]
            }
        };
        Self(Batcher::start(
            shutdown,
            bounds,
            |wanted| wanted.len(),
            serve,
        ))
    }

    /// A reading of these runs, among others. Each of them that holds an event has one.
    pub(super) async fn read(&self, wanted: Arc<[Run]>) -> Answer {
        self.0.serve(wanted).await.unwrap_or_else(|error| {
            if error == NotServed::QueueFull {
                counter!("relay_events_replays_refused_total").increment(1);
            }
            Err(StoreError::Unavailable)
        })
    }
}

/// Few events of each run first, then what room is left goes to the runs that have more.
async fn read(
    journal: &dyn Journal,
    settings: &Settings,
    mut reading: Reading,
) -> Result<Reading, StoreError> {
    let enough = settings.page_max as usize;
    let mut room = settings.replay_rows_max as usize;
    let mut rest = reading.rest(enough);
    // Whoever waits gets on, however many wait.
    let mut each = (room / rest.len().max(1)).clamp(1, enough);
    while !rest.is_empty() && each > 0 {
        let limit = u32::try_from(each).unwrap_or(u32::MAX);
        let read = journal.runs(&rest, limit).await?;
        let rows = read.iter().map(Vec::len).sum();
        counter!("relay_events_replay_readings_total").increment(1);
        counter!("relay_events_replay_rows_total").increment(rows as u64);
        room = room.saturating_sub(rows);
        reading.add(read, enough, each);
        rest = reading.rest(enough);
        each = (room / rest.len().max(1)).min(enough);
    }
    // After the rows, so that nothing can be forgotten between the two unseen.
    reading.forgotten_through(journal.ends().await?.floor);
    Ok(reading)
}

/// Runs are read together while there is room for so many events of each.
const ROWS_EACH: usize = 4;

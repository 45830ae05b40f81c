//! Conversations that somebody holds for long, such as an operator whose transaction stays open.
//! A batch that waited for one would keep all that are in it waiting, and all behind it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::pool::Pool;
use super::rows::get;
use super::{NewMessage, Settings, StoreError};

/// Looks before each batch, while it must: only after one did not end in time. Clones are the
/// same.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    until: Arc<Mutex<Option<Instant>>>,
    held_up_after: Duration,
    /// What Postgres may take for the looks themselves. If it takes longer, it holds up
    /// everybody.
    looks_max: Duration,
    lasts: Duration,
}

impl Watch {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            until: Arc::default(),
            held_up_after: settings.held_up_after,
            looks_max: settings.statement_timeout / 5,
            // Whoever holds one costs the others a wait only now and then.
            lasts: settings.statement_timeout * 6,
        }
    }

    pub(super) fn begin(&self) {
        *self.until.lock() = Some(Instant::now() + self.lasts);
    }

    pub(super) fn is_on(&self) -> bool {
        self.until
            .lock()
            .is_some_and(|until| Instant::now() < until)
    }

    /// Which of the items' conversations are held, and not just by a call or another batch.
    pub(super) async fn held(
        &self,
        pool: &Pool,
        items: &[&NewMessage],
    ) -> Result<HashSet<String>, StoreError> {
        let wanted: HashSet<&str> = items.iter().map(|item| item.convo.expose()).collect();
        let mut wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        let look = async {
            for _ in 1..LOOKS {
                wanted = held_now(pool, &wanted).await?;
                if wanted.is_empty() {
                    return Ok(HashSet::new());
                }
                sleep(self.held_up_after / (LOOKS - 1)).await;
            }
            Ok(held_now(pool, &wanted).await?.into_iter().collect())
        };
        timeout(self.held_up_after + self.looks_max, look)
            .await
            .unwrap_or(Err(StoreError::Timeout))
    }
}

async fn held_now(pool: &Pool, among: &[String]) -> Result<Vec<String>, StoreError> {
    pool.all(HELD, &[&among], |row| get(row, "convo_id")).await
}

/// The lock is the one that a send takes.
const HELD: &str = "WITH free AS MATERIALIZED (
        SELECT c.convo_id FROM conversations c WHERE c.convo_id = ANY ($1)
            FOR NO KEY UPDATE SKIP LOCKED)
    SELECT c.convo_id FROM conversations c
    WHERE c.convo_id = ANY ($1) AND c.convo_id NOT IN (SELECT f.convo_id FROM free f)";

/// Spread over the time. Whoever has a conversation at each of them has had it all along, or so
/// nearly that it is the same for those who wait.
const LOOKS: u32 = 4;

//! Conversations that somebody holds for long, such as an operator whose transaction stays open.
//! A batch that waited for one would keep all that are in it waiting, and all behind it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::connect::Pool;
use super::{NewMessage, StoreError, query, rows};

/// Until when it is looked before each batch, if it is: only after one did not end in time.
/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Option<Instant>>>);

impl Watch {
    pub(super) fn begin(&self) {
        *self.0.lock() = Some(Instant::now() + WATCHED_FOR);
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.lock().is_some_and(|until| Instant::now() < until)
    }
}

/// Which of the items' conversations are held, and not just by a call or another batch.
pub(super) async fn held(
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
            sleep(BETWEEN_LOOKS).await;
        }
        Ok(held_now(pool, &wanted).await?.into_iter().collect())
    };
    timeout(PATIENCE, look)
        .await
        .unwrap_or(Err(StoreError::Timeout))
}

async fn held_now(pool: &Pool, among: &[String]) -> Result<Vec<String>, StoreError> {
    let rows = query(pool, HELD, &[&among]).await?;
    rows.iter().map(|row| rows::get(row, "convo_id")).collect()
}

/// The lock is the one that a send takes.
const HELD: &str = "WITH free AS MATERIALIZED (
        SELECT c.convo_id FROM conversations c WHERE c.convo_id = ANY ($1)
            FOR NO KEY UPDATE SKIP LOCKED)
    SELECT c.convo_id FROM conversations c
    WHERE c.convo_id = ANY ($1) AND c.convo_id NOT IN (SELECT f.convo_id FROM free f)";

/// Long enough that whoever holds one costs the others a wait only now and then.
const WATCHED_FOR: Duration = Duration::from_secs(30);

/// Whoever has a conversation at each of them is not just passing.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_millis(25);

/// A Postgres that does not answer this holds up everybody.
const PATIENCE: Duration = Duration::from_secs(1);

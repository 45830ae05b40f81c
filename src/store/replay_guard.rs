//! Single use of nonces over all nodes and restarts: checked in batches, with a
//! commit that does not wait for the disk. A send takes its nonce along to the
//! [`appender`](super::appender) instead.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::connect::Pool;
use super::queue::Queue;
use super::{Settings, Store, StoreError, query, rows};
use crate::runtime::{Batcher, Bounds, Shutdown};

/// A nonce to be used up, as the ledger of all nodes knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce {
    /// A hash, which tells nobody whose it was.
    pub key: [u8; 32],
    /// Until when it counts as used.
    pub until: DateTime<Utc>,
}

#[derive(Debug)]
pub(super) struct ReplayGuard(Queue<Nonce, bool>);

impl ReplayGuard {
    pub(super) fn start(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> Self {
        let bounds = Bounds {
            name: "nonces",
            queue_max: settings.jti_queue_max,
            batch_max: BATCH_MAX,
            weight_max: usize::MAX,
        };
        let batches = Batcher::start(
            shutdown,
            bounds,
            |_| 1,
            move |batch| claim(pool.clone(), batch),
        );
        Self(Queue::new(settings, batches))
    }
}

impl Store {
    /// Uses a nonce. `true` the first time, on whatever node; `false` until after its time.
    pub async fn use_up(&self, nonce: Nonce) -> Result<bool, StoreError> {
        self.0.replay_guard.0.ask(nonce).await
    }
}

async fn claim(pool: Pool, batch: Vec<Nonce>) -> Vec<Result<bool, StoreError>> {
    match claim_all(&pool, &batch).await {
        // The same nonce twice in one batch: the first comer has it.
        Ok(mut new) => batch
            .iter()
            .map(|nonce| Ok(new.remove(nonce.key.as_slice())))
            .collect(),
        Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
    }
}

async fn claim_all(pool: &Pool, batch: &[Nonce]) -> Result<HashSet<Vec<u8>>, StoreError> {
    let keys: Vec<&[u8]> = batch.iter().map(|nonce| nonce.key.as_slice()).collect();
    let expires: Vec<DateTime<Utc>> = batch.iter().map(|nonce| nonce.until).collect();
    let claimed = query(pool, "SELECT claim_jtis($1, $2) AS key", &[&keys, &expires]).await?;
    claimed.iter().map(|row| rows::get(row, "key")).collect()
}

/// About 20 kB of parameters.
const BATCH_MAX: usize = 512;

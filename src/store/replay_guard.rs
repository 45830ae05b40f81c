//! Single use of nonces over all nodes and restarts: checked in batches, with a
//! commit that does not wait for the disk. A send takes its nonce along to the
//! [`appender`](super::appender) instead.

use std::collections::HashSet;

use chrono::{DateTime, Utc};

use super::pool::Pool;
use super::queue::{Queue, bounds};
use super::rows::{bytes, column};
use super::{Params, Settings, Store, StoreError};
use crate::runtime::Shutdown;

/// A nonce to be used up, as the ledger of all nodes knows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nonce {
    /// A hash, which tells nobody whose it was.
    pub key: [u8; 32],
    /// Until when it counts as used.
    pub until: DateTime<Utc>,
}

pub(super) type ReplayGuard = Queue<Nonce, bool>;

pub(super) fn start(settings: &Settings, pool: Pool, shutdown: &Shutdown) -> ReplayGuard {
    let bounds = bounds("nonces", settings.jti_queue_max, BATCH_MAX);
    Queue::start(bounds, settings, shutdown, move |batch| {
        claim(pool.clone(), batch)
    })
}

impl Store {
    /// Uses a nonce. `true` the first time, on whatever node; `false` until after its time.
    pub async fn use_up(&self, nonce: Nonce) -> Result<bool, StoreError> {
        self.0.replay_guard.ask(nonce).await
    }
}

async fn claim(pool: Pool, batch: Vec<Nonce>) -> Result<Vec<bool>, StoreError> {
    let params: Params<'_> = &[
        &column(&batch, |nonce| nonce.key.as_slice()),
        &column(&batch, |nonce| nonce.until),
    ];
    let sql = "SELECT claim_jtis($1, $2) AS key";
    let new = pool.all(sql, params, |row| bytes(row, "key")).await?;
    // The same nonce twice in one batch: the first comer has it.
    let mut new: HashSet<[u8; 32]> = new.into_iter().collect();
    Ok(batch.iter().map(|nonce| new.remove(&nonce.key)).collect())
}

/// About 20 kB of parameters.
const BATCH_MAX: usize = 512;

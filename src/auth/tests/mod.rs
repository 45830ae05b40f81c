//! Tests of this area over real HTTP, against a directory on loopback, and what
//! they stand on.

mod lookup_world;
mod lookups;
mod outages;
mod proofs;
mod second_opinion;
mod shares;
mod tickets;
mod web;
mod world;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::nonces::Ledger;
use crate::store::{Nonce, StoreError};
use crate::types::Did;

/// A ledger in memory; clones are the same one, as nodes on one database are.
#[derive(Clone, Default)]
pub(super) struct MemoryLedger(Arc<Book>);

#[derive(Default)]
struct Book {
    used: Mutex<HashMap<[u8; 32], i64>>,
    questions: AtomicUsize,
    failing: AtomicBool,
    /// Seconds since 1970.
    revoked_at: AtomicI64,
}

impl MemoryLedger {
    pub(super) fn questions(&self) -> usize {
        self.0.questions.load(Ordering::Relaxed)
    }

    pub(super) fn fail(&self, failing: bool) {
        self.0.failing.store(failing, Ordering::Relaxed);
    }

    /// Revokes the tickets of everyone that were issued until then.
    pub(super) fn revoke(&self, until: i64) {
        self.0.revoked_at.store(until, Ordering::Relaxed);
    }

    /// Until when the used nonces are remembered.
    fn remembered_until(&self) -> Vec<i64> {
        self.0.used.lock().values().copied().collect()
    }
}

impl Ledger for MemoryLedger {
    fn claim(&self, nonce: Nonce) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.0.questions.fetch_add(1, Ordering::Relaxed);
        let claimed = if self.0.failing.load(Ordering::Relaxed) {
            Err(StoreError::Unavailable)
        } else {
            let until = nonce.until.timestamp();
            Ok(self.0.used.lock().insert(nonce.key, until).is_none())
        };
        Box::pin(std::future::ready(claimed))
    }

    fn is_revoked<'a>(
        &'a self,
        _: &'a Did,
        issued_at: i64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let revoked = issued_at <= self.0.revoked_at.load(Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(revoked)))
    }
}

/// Asks again and again until the answer is yes.
async fn eventually(ask: impl AsyncFn() -> bool) {
    let asking = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, asking).await.unwrap();
}

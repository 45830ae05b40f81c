//! Reads what belongs to an account, for many accounts in one statement: after a
//! restart thousands of sessions ask at once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::Row;

use super::connect::Pool;
use super::queue::Queue;
use super::{Settings, StoreError, query, rows};
use crate::runtime::{Batcher, Bounds, Shutdown};
use crate::types::Did;

/// The rows of one account; accounts that ask twice at once share them.
type Rows<T> = Result<Arc<[T]>, StoreError>;

/// One statement with one parameter, the accounts, whose rows name their account as
/// `user_did`.
pub(super) struct Loader<T>(Queue<Did, Arc<[T]>>);

impl<T: Clone + Send + Sync + 'static> Loader<T> {
    pub(super) fn start(
        name: &'static str,
        settings: &Settings,
        pool: Pool,
        shutdown: &Shutdown,
        sql: &'static str,
        read: fn(&Row) -> Result<T, StoreError>,
    ) -> Self {
        let bounds = Bounds {
            name,
            queue_max: settings.reads_queue_max,
            batch_max: BATCH_MAX,
            weight_max: usize::MAX,
        };
        let batches = Batcher::start(
            shutdown,
            bounds,
            |_| 1,
            move |batch| {
                let pool = pool.clone();
                async move { load(&pool, batch, sql, read).await }
            },
        );
        Self(Queue::new(settings, batches))
    }

    pub(super) async fn of(&self, did: &Did) -> Result<Arc<[T]>, StoreError> {
        self.0.ask(did.clone()).await
    }
}

async fn load<T>(
    pool: &Pool,
    batch: Vec<Did>,
    sql: &'static str,
    read: fn(&Row) -> Result<T, StoreError>,
) -> Vec<Rows<T>> {
    match read_all(pool, &batch, sql, read).await {
        Ok(found) => {
            let none: Arc<[T]> = Arc::new([]);
            let found = batch.iter().map(|did| found.get(did).cloned());
            found
                .map(|rows| rows.unwrap_or_else(|| Ok(Arc::clone(&none))))
                .collect()
        }
        Err(error) => batch.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// What cannot be read of one account is no fault of the others'.
async fn read_all<T>(
    pool: &Pool,
    batch: &[Did],
    sql: &'static str,
    read: fn(&Row) -> Result<T, StoreError>,
) -> Result<HashMap<Did, Rows<T>>, StoreError> {
    let mut dids: Vec<&str> = batch.iter().map(Did::expose).collect();
    dids.sort_unstable();
    dids.dedup();
    let mut found: HashMap<Did, Vec<Result<T, StoreError>>> = HashMap::new();
    for row in &query(pool, sql, &[&dids]).await? {
        let did = rows::did(row, "user_did")?;
        found.entry(did).or_default().push(read(row));
    }
    let shared = found.into_iter();
    Ok(shared
        .map(|(did, rows)| (did, rows.into_iter().collect()))
        .collect())
}

impl<T> fmt::Debug for Loader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loader")
    }
}

/// Accounts in one statement, which takes some milliseconds: others wait behind it.
const BATCH_MAX: usize = 256;

//! Reads what belongs to an account, for many accounts in one statement: after a
//! restart thousands of sessions ask at once.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Row;

use super::pool::Pool;
use super::queue::{Queue, bounds};
use super::rows::get;
use super::{Settings, StoreError};
use crate::runtime::Shutdown;
use crate::types::Did;

/// The rows of one account; accounts that ask twice at once share them.
type Rows<T> = Result<Arc<[T]>, StoreError>;

type ReadRow<T> = fn(&Row) -> Result<T, StoreError>;

/// One statement with one parameter, the accounts, whose rows name their account as
/// `user_did`.
#[derive(Debug)]
pub(super) struct Loader<T>(Queue<Did, Rows<T>>);

impl<T: Clone + Send + Sync + 'static> Loader<T> {
    pub(super) fn start(
        name: &'static str,
        settings: &Settings,
        pool: Pool,
        shutdown: &Shutdown,
        (sql, read): (&'static str, ReadRow<T>),
    ) -> Self {
        let bounds = bounds(name, settings.reads_queue_max, BATCH_MAX);
        let load = move |batch| load(pool.clone(), batch, sql, read);
        Self(Queue::start(bounds, settings, shutdown, load))
    }

    pub(super) async fn of(&self, did: &Did) -> Rows<T> {
        self.0.ask(did.clone()).await?
    }
}

/// What cannot be read of one account is no fault of the others'.
async fn load<T: Clone>(
    pool: Pool,
    batch: Vec<Did>,
    sql: &'static str,
    read: ReadRow<T>,
) -> Result<Vec<Rows<T>>, StoreError> {
    let mut dids: Vec<&Did> = batch.iter().collect();
    dids.sort_unstable();
    dids.dedup();
    let mut found: HashMap<Did, Vec<Result<T, StoreError>>> = HashMap::new();
    for row in &pool.query(sql, &[&dids]).await? {
        let did = get(row, "user_did")?;
        found.entry(did).or_default().push(read(row));
    }
    let shared = found.into_iter();
    let shared = shared.map(|(did, rows)| (did, rows.into_iter().collect()));
    let shared: HashMap<Did, Rows<T>> = shared.collect();
    let rows = batch.iter().map(|did| shared.get(did).cloned());
    Ok(rows.map(|rows| rows.unwrap_or(Ok(Arc::new([])))).collect())
}

/// Accounts in one statement, which takes some milliseconds: others wait behind it.
const BATCH_MAX: usize = 256;

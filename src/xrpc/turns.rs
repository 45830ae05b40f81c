//! Whose turn it is to work in the database. Its connections are few, and whoever waits for a
//! lock or has much looked at keeps one meanwhile: an account that asks for much at once shall
//! wait for itself, and nobody else for it.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::poll;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::refusal::unavailable;
use crate::runtime::Shares;
use crate::store::Store;
use crate::types::Did;
use crate::wire::XrpcError;

pub(super) struct Turns {
    accounts: Shares<Did>,
    /// For one's own calls, each of which ends in its time.
    patience: Duration,
}

/// A call's turn, until dropped. None: it waits for nobody.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

impl Turns {
    pub(super) fn new(store: &Store) -> Self {
        let settings = store.settings();
        let connections = usize::try_from(settings.connections_max).unwrap_or(usize::MAX);
        Self {
            accounts: Shares::of(connections / SHARE),
            patience: settings.acquire_timeout + settings.statement_timeout,
        }
    }

    pub(super) async fn take(&self, account: &Did) -> Result<Turn, XrpcError> {
        let mut taking = pin!(self.accounts.take(account.clone(), usize::MAX));
        if let Poll::Ready(turn) = poll!(taking.as_mut()) {
            return Ok(turn);
        }
        metrics::counter!("relay_calls_waited_total").increment(1);
        let waited = timeout(self.patience, taking).await;
        waited.map_err(|_| unavailable(BUSY, COME_BACK))
    }
}

/// One account's calls have this part of the connections: `database.connections_max` says so.
const SHARE: usize = 4;

const BUSY: &str = "too many of your calls are under way";
/// About when one of them has ended.
const COME_BACK: Duration = Duration::from_secs(1);

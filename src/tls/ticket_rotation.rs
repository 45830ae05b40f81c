//! Keeps the ticket keys of all nodes the same: whichever node needs a key first makes it
//! in Postgres, and all read it there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::ticket_keys::{TicketKeys, unix_now};
use crate::runtime::Shutdown;
use crate::store::{Store, StoreError};

impl TicketKeys {
    /// The keys that all nodes share, kept in turn until the process stops. The first
    /// handshake finds them: a relay accepts only after its store is open.
    pub async fn share(
        rotation: Duration,
        store: Store,
        shutdown: &Shutdown,
    ) -> Result<Arc<Self>, StoreError> {
        let keys = Arc::new(Self::new(rotation));
        keys.refresh(&store).await?;
        keys.show();
        let kept = Arc::clone(&keys);
        let every = (rotation / LOOKS).min(LOOK_EVERY_MAX);
        shutdown.spawn_lasting("ticket_keys", (kept, store), move |(keys, store)| {
            Box::pin(keys.keep_fresh(every, store))
        });
        Ok(keys)
    }

    async fn keep_fresh(&self, every: Duration, store: &Store) {
        let mut is_failing = false;
        loop {
            sleep(every).await;
            // The next key is here since the last rotation, so there is time. Without
            // one, sessions go on without tickets, and the metric says so.
            let refreshed = self.refresh(store).await;
            match &refreshed {
                Err(error) => {
                    tracing::warn!(%error, "the keys of session tickets were not refreshed");
                }
                Ok(()) if is_failing => {
                    tracing::warn!("the keys of session tickets are refreshed again");
                }
                Ok(()) => {}
            }
            is_failing = refreshed.is_err();
            self.show();
        }
    }

    async fn refresh(&self, store: &Store) -> Result<(), StoreError> {
        let [_, current, next] = self.beginnings(unix_now());
        let keys = store.ticket_keys([current, next], self.life()).await?;
        self.replace(&keys).map_err(|_| StoreError::Shape)
    }

    fn show(&self) {
        let can_encrypt = self.can_encrypt(unix_now());
        metrics::gauge!("relay_tls_ticket_key_in_force").set(if can_encrypt { 1.0 } else { 0.0 });
    }
}

/// Looks in a rotation.
const LOOKS: u32 = 8;

/// Of a long rotation, so that the key of a node that was cut off comes soon.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(300);

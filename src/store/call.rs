//! One statement on a connection of a pool, and what becomes of the connection if its caller
//! goes away meanwhile: a client that gives up its call must not cost a connection.

use tokio::runtime::Handle;
use tokio_postgres::Row;

use super::pool::Taken;
use super::{Params, StoreError};
use crate::runtime::Shutdown;

pub(super) struct Call {
    /// `None` once it is given back.
    connection: Option<Taken>,
    sql: &'static str,
    shutdown: Shutdown,
}

impl Call {
    pub(super) fn new(connection: Taken, sql: &'static str, shutdown: &Shutdown) -> Self {
        Self {
            connection: Some(connection),
            sql,
            shutdown: shutdown.clone(),
        }
    }

    pub(super) async fn run(mut self, params: Params<'_>) -> Result<Vec<Row>, StoreError> {
        let connection = self.connection.as_ref().ok_or(StoreError::Unavailable)?;
        let answer = connection.query(self.sql, params).await;
        // Nobody waits for one that has had its time.
        self.connection = None;
        answer
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // Outside of a runtime, at its end, there is nobody left to wait.
        if !connection.is_left() || Handle::try_current().is_err() {
            return;
        }
        // As many as there are connections: the pool counts this one as in use.
        let sql = self.sql;
        self.shutdown.spawn_errand(async move {
            connection.settle(sql).await;
        });
    }
}

//! Who has opted in.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::rows::get;
use super::{Store, StoreError};
use crate::types::{CoarseTime, Did};

impl Store {
    /// Records consent; the time of the first stays.
    pub async fn opt_in(&self, user: &Did) -> Result<CoarseTime, StoreError> {
        let sql = "INSERT INTO opt_ins AS o (user_did) VALUES ($1) ON CONFLICT (user_did) \
                   DO UPDATE SET opted_in_at = o.opted_in_at RETURNING o.opted_in_at";
        self.calls().value(sql, &[user]).await
    }

    /// Takes consent back; whether there was any.
    pub async fn opt_out(&self, user: &Did) -> Result<bool, StoreError> {
        let sql = "DELETE FROM opt_ins WHERE user_did = $1 RETURNING 1";
        let gone = self.calls().query(sql, &[user]).await?;
        Ok(!gone.is_empty())
    }

    /// Those of these accounts that have opted in, and since when.
    pub async fn opt_ins(&self, users: &[Did]) -> Result<HashMap<Did, CoarseTime>, StoreError> {
        let sql = "SELECT user_did, opted_in_at FROM opt_ins WHERE user_did = ANY ($1)";
        let read = |row: &Row| Ok((get(row, "user_did")?, get(row, "opted_in_at")?));
        let opted = self.calls().all(sql, &[&users], read).await?;
        Ok(opted.into_iter().collect())
    }
}

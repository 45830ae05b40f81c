//! Keys that all nodes share, made by whichever needs one first.

use super::rows::bytes;
use super::{Store, StoreError};

impl Store {
    /// The secret of this name; random, and the same on every node ever after.
    pub async fn shared_secret(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        let make = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let fresh = fresh::<32>()?;
        self.calls()
            .execute(make, &[&name, &fresh.as_slice()])
            .await?;
        let sql = "SELECT value FROM secrets WHERE name = $1";
        self.calls()
            .one(sql, &[&name], |row| bytes(row, "value"))
            .await
    }
}

/// Random bytes that may become what nodes share.
pub(super) fn fresh<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Unavailable)?;
    Ok(bytes)
}

//! Keys that all nodes share, made by whichever needs one first.

use super::{Store, StoreError, rows};

impl Store {
    /// The secret of this name; random, and the same on every node ever after.
    pub async fn shared_secret(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        self.execute(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&name, &fresh::<32>()?.as_slice()],
        )
        .await?;
        let row = &self
            .query_one("SELECT value FROM secrets WHERE name = $1", &[&name])
            .await?;
        rows::bytes(row, "value")
    }
}

/// Random bytes that may become what nodes share.
pub(super) fn fresh<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StoreError::Unavailable)?;
    Ok(bytes)
}

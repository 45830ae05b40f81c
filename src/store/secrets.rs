//! Keys that all nodes share, made by whichever needs one first.

use super::{Store, StoreError, rows};

impl Store {
    /// The secret of this name; random, and the same on every node ever after.
    pub async fn shared_secret(&self, name: &'static str) -> Result<[u8; 32], StoreError> {
        let mut fresh = [0; 32];
        aws_lc_rs::rand::fill(&mut fresh).map_err(|_| StoreError::Unavailable)?;
        self.execute(
            "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            &[&name, &fresh.as_slice()],
        )
        .await?;
        let row = &self
            .query_one("SELECT value FROM secrets WHERE name = $1", &[&name])
            .await?;
        rows::get::<&[u8]>(row, "value")?
            .try_into()
            .map_err(|_| StoreError::Shape)
    }
}

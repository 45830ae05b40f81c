//! Who has opted in.

use super::{Store, StoreError, rows};
use crate::types::{CoarseTime, Did};

/// An account's wish to be added to conversations.
#[derive(Clone, Debug)]
pub struct OptIn {
    pub user: Did,
    pub opted_in_at: CoarseTime,
}

impl Store {
    /// Records consent; the time of the first stays.
    pub async fn opt_in(&self, user: &Did) -> Result<CoarseTime, StoreError> {
        let found = self
            .query(
                "INSERT INTO opt_ins AS o (user_did) VALUES ($1) ON CONFLICT (user_did) \
                 DO UPDATE SET opted_in_at = o.opted_in_at RETURNING o.opted_in_at",
                &[&user.expose()],
            )
            .await?;
        found
            .first()
            .map_or(Err(StoreError::Shape), |row| rows::time(row, "opted_in_at"))
    }

    /// Takes consent back; whether there was any.
    pub async fn opt_out(&self, user: &Did) -> Result<bool, StoreError> {
        let gone = self
            .query(
                "DELETE FROM opt_ins WHERE user_did = $1 RETURNING 1",
                &[&user.expose()],
            )
            .await?;
        Ok(!gone.is_empty())
    }

    /// Those of these accounts that have opted in.
    pub async fn opt_ins(&self, users: &[Did]) -> Result<Vec<OptIn>, StoreError> {
        let users: Vec<&str> = users.iter().map(Did::expose).collect();
        let found = self
            .query(
                "SELECT * FROM opt_ins WHERE user_did = ANY ($1) ORDER BY user_did",
                &[&users],
            )
            .await?;
        found
            .iter()
            .map(|row| {
                Ok(OptIn {
                    user: rows::did(row, "user_did")?,
                    opted_in_at: rows::time(row, "opted_in_at")?,
                })
            })
            .collect()
    }
}

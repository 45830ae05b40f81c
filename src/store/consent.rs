//! Who has opted in, and who blocks whom.

use super::{Store, StoreError, rows};
use crate::types::{CoarseTime, Did};

/// An account's consent to be added to conversations.
#[derive(Clone, Debug)]
pub struct OptIn {
    pub user: Did,
    pub opted_in_at: CoarseTime,
}

/// A block between two accounts, as the AppView told it.
#[derive(Clone, Debug)]
pub struct Block {
    pub blocker: Did,
    pub blocked: Did,
    pub uri: Option<String>,
    pub seen_at: CoarseTime,
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

    /// Blocks among these accounts that the relay has seen.
    pub async fn blocks_among(&self, users: &[Did]) -> Result<Vec<Block>, StoreError> {
        let users: Vec<&str> = users.iter().map(Did::expose).collect();
        let found = self
            .query(
                "SELECT * FROM blocks WHERE blocker_did = ANY ($1) AND blocked_did = ANY ($1) \
                 ORDER BY blocker_did, blocked_did",
                &[&users],
            )
            .await?;
        found
            .iter()
            .map(|row| {
                Ok(Block {
                    blocker: rows::did(row, "blocker_did")?,
                    blocked: rows::did(row, "blocked_did")?,
                    uri: rows::get(row, "block_uri")?,
                    seen_at: rows::time(row, "seen_at")?,
                })
            })
            .collect()
    }

    /// Records what the AppView said: a block there is, or is no more.
    pub async fn set_block(
        &self,
        blocker: &Did,
        blocked: &Did,
        uri: Option<&str>,
        exists: bool,
    ) -> Result<(), StoreError> {
        let (blocker, blocked) = (blocker.expose(), blocked.expose());
        if exists {
            self.query(
                "INSERT INTO blocks (blocker_did, blocked_did, block_uri) VALUES ($1, $2, $3) \
                 ON CONFLICT (blocker_did, blocked_did) DO UPDATE \
                 SET block_uri = excluded.block_uri, seen_at = excluded.seen_at",
                &[&blocker, &blocked, &uri],
            )
            .await?;
        } else {
            self.query(
                "DELETE FROM blocks WHERE blocker_did = $1 AND blocked_did = $2",
                &[&blocker, &blocked],
            )
            .await?;
        }
        Ok(())
    }

    /// Conversations that both accounts are in now.
    pub async fn shared_conversations(
        &self,
        one: &Did,
        other: &Did,
    ) -> Result<Vec<crate::types::ConvoId>, StoreError> {
        let found = self
            .query(
                "SELECT DISTINCT a.convo_id FROM members a JOIN members b USING (convo_id) \
                 WHERE a.user_did = $1 AND b.user_did = $2 AND a.left_seq IS NULL \
                 AND b.left_seq IS NULL ORDER BY a.convo_id",
                &[&one.expose(), &other.expose()],
            )
            .await?;
        found
            .iter()
            .map(|row| rows::convo(row, "convo_id"))
            .collect()
    }
}

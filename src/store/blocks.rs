//! Who blocks whom, as the AppView told it, and what follows for conversations.

use tokio_postgres::Row;

use super::accounts::CONVOS_BITE;
use super::{Store, StoreError, rows};
use crate::types::{CoarseTime, ConvoId, Did};

/// A block between two accounts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    pub blocker: Did,
    pub blocked: Did,
    /// The record that says so, an `at://` URI.
    pub uri: Option<String>,
    /// When the AppView last said so.
    pub seen_at: CoarseTime,
}

/// What the AppView said of one direction between two accounts.
#[derive(Clone, Debug)]
pub struct Said {
    pub blocker: Did,
    pub blocked: Did,
    pub uri: Option<String>,
    pub exists: bool,
}

/// A conversation of two accounts of which one blocks, or blocked, the other.
#[derive(Clone, Debug)]
pub struct AffectedConvo {
    pub convo: ConvoId,
    /// Somebody else than the two is admin there.
    pub has_other_admin: bool,
    /// When the admins were told of the conflict, if there is one.
    pub told_at: Option<CoarseTime>,
}

impl Store {
    /// Blocks among these accounts that the relay has been told of.
    pub async fn blocks_among(&self, users: &[Did]) -> Result<Vec<Block>, StoreError> {
        let users: Vec<&str> = users.iter().map(Did::expose).collect();
        let found = self
            .query(
                // Not by both at once: of a thousand accounts that is a million pairs.
                "SELECT * FROM (\
                     SELECT * FROM blocks WHERE blocker_did = ANY ($1::text[]) OFFSET 0) b \
                 WHERE b.blocked_did IN (SELECT unnest($1::text[])) \
                 ORDER BY b.blocker_did, b.blocked_did",
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

    /// Keeps what the AppView said.
    pub async fn record_blocks(&self, said: &[Said]) -> Result<(), StoreError> {
        let blockers: Vec<&str> = said.iter().map(|s| s.blocker.expose()).collect();
        let blocked: Vec<&str> = said.iter().map(|s| s.blocked.expose()).collect();
        let uris: Vec<Option<&str>> = said.iter().map(|s| s.uri.as_deref()).collect();
        let exists: Vec<bool> = said.iter().map(|s| s.exists).collect();
        self.execute(
            "SELECT record_blocks($1, $2, $3, $4)",
            &[&blockers, &blocked, &uris, &exists],
        )
        .await
    }

    /// A block was made or lifted: tells the admins where both are in. In bites that no sender
    /// feels: where one fails, the same call tells those that are left.
    pub async fn change_block(
        &self,
        blocker: &Did,
        blocked: &Did,
        exists: bool,
    ) -> Result<Vec<AffectedConvo>, StoreError> {
        let mut affected = Vec::new();
        let mut after = Some(String::new());
        while let Some(last) = &after {
            let found = self
                .query(
                    "SELECT * FROM change_block($1, $2, $3, $4, $5)",
                    &[
                        &blocker.expose(),
                        &blocked.expose(),
                        &exists,
                        last,
                        &CONVOS_BITE,
                    ],
                )
                .await?;
            for row in &found {
                affected.push(affected_convo(row)?);
            }
            let is_full = i32::try_from(found.len()) == Ok(CONVOS_BITE);
            let last = found.last().filter(|_| is_full);
            after = last.map(|row| rows::get(row, "convo_id")).transpose()?;
        }
        Ok(affected)
    }

    /// Conflicts of a conversation that are over: the block was lifted, or one of
    /// the two is gone.
    pub async fn block_conflicts_resolved(
        &self,
        convo: &ConvoId,
        since: Option<CoarseTime>,
    ) -> Result<u64, StoreError> {
        let found = self
            .query(
                "SELECT count(*) AS resolved FROM block_conflicts c WHERE c.convo_id = $1 \
                 AND ($2::timestamptz IS NULL OR c.seen_at >= $2) \
                 AND (c.resolved_at IS NOT NULL OR (\
                     SELECT count(DISTINCT m.user_did) FROM members m \
                     WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL \
                     AND m.user_did IN (c.blocker_did, c.blocked_did)) < 2)",
                &[&convo.expose(), &since.map(CoarseTime::to_utc)],
            )
            .await?;
        found
            .first()
            .map_or(Err(StoreError::Shape), |row| rows::count(row, "resolved"))
    }

    /// The accounts that are in a conversation. Check the standing first.
    pub async fn member_dids(&self, convo: &ConvoId) -> Result<Vec<Did>, StoreError> {
        let found = self
            .query(
                "SELECT DISTINCT m.user_did FROM members m \
                 WHERE m.convo_id = $1 AND m.left_seq IS NULL ORDER BY m.user_did",
                &[&convo.expose()],
            )
            .await?;
        found.iter().map(|row| rows::did(row, "user_did")).collect()
    }
}

fn affected_convo(row: &Row) -> Result<AffectedConvo, StoreError> {
    Ok(AffectedConvo {
        convo: rows::convo(row, "convo_id")?,
        has_other_admin: rows::get(row, "has_other_admin")?,
        told_at: rows::optional_time(row, "told_at")?,
    })
}

//! Who blocks whom, as the AppView told it, and what follows for conversations.

use tokio_postgres::Row;

use super::accounts::CONVOS_BITE;
use super::rows::{column, count, get};
use super::{Params, Store, StoreError};
use crate::types::{CoarseTime, ConvoId, Did, unprintable};
use crate::wire::calls::BlockView;

/// What the AppView said of one direction between two accounts.
#[derive(Clone)]
pub struct Said {
    pub blocker: Did,
    pub blocked: Did,
    pub uri: Option<String>,
    pub exists: bool,
}

unprintable!(Said);

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
    pub async fn blocks_among(&self, users: &[Did]) -> Result<Vec<BlockView>, StoreError> {
        // Not by both at once: of a thousand accounts that is a million pairs.
        let sql = "SELECT b.blocker_did, b.blocked_did, b.block_uri, b.seen_at FROM (\
                       SELECT * FROM blocks WHERE blocker_did = ANY ($1::text[]) OFFSET 0) b \
                   WHERE b.blocked_did IN (SELECT unnest($1::text[])) \
                   ORDER BY b.blocker_did, b.blocked_did";
        let read = |row: &Row| {
            Ok(BlockView {
                blocker_did: get(row, "blocker_did")?,
                blocked_did: get(row, "blocked_did")?,
                block_uri: get(row, "block_uri")?,
                created_at: get(row, "seen_at")?,
            })
        };
        self.calls().all(sql, &[&users], read).await
    }

    /// Keeps what the AppView said.
    pub async fn record_blocks(&self, said: &[Said]) -> Result<(), StoreError> {
        let sql = "SELECT record_blocks($1, $2, $3, $4)";
        let params: Params<'_> = &[
            &column(said, |s| &s.blocker),
            &column(said, |s| &s.blocked),
            &column(said, |s| &s.uri),
            &column(said, |s| s.exists),
        ];
        self.calls().execute(sql, params).await
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
            let sql = "SELECT * FROM change_block($1, $2, $3, $4, $5)";
            let params: Params<'_> = &[blocker, blocked, &exists, last, &CONVOS_BITE];
            let bite = self.calls().all(sql, params, affected_convo).await?;
            let is_full = i32::try_from(bite.len()) == Ok(CONVOS_BITE);
            let last = bite.last().filter(|_| is_full);
            after = last.map(|last| last.convo.expose().to_owned());
            affected.extend(bite);
        }
        Ok(affected)
    }

    /// Conflicts of a conversation that are over: the block was lifted, or one of
    /// the two is gone.
    pub(super) async fn block_conflicts_resolved(
        &self,
        convo: &ConvoId,
        since: Option<CoarseTime>,
    ) -> Result<u64, StoreError> {
        let sql = "SELECT count(*) AS resolved FROM block_conflicts c WHERE c.convo_id = $1 \
                   AND ($2::timestamptz IS NULL OR c.seen_at >= $2) \
                   AND (c.resolved_at IS NOT NULL OR (\
                       SELECT count(DISTINCT m.user_did) FROM members m \
                       WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL \
                       AND m.user_did IN (c.blocker_did, c.blocked_did)) < 2)";
        let read = |row: &Row| count(row, "resolved");
        self.calls().one(sql, &[convo, &since], read).await
    }

    /// The accounts that are in a conversation, whoever asks.
    pub async fn member_dids(&self, convo: &ConvoId) -> Result<Vec<Did>, StoreError> {
        let sql = "SELECT DISTINCT m.user_did FROM members m \
                   WHERE m.convo_id = $1 AND m.left_seq IS NULL ORDER BY m.user_did";
        let read = |row: &Row| get(row, "user_did");
        self.calls().all(sql, &[convo], read).await
    }
}

fn affected_convo(row: &Row) -> Result<AffectedConvo, StoreError> {
    Ok(AffectedConvo {
        convo: get(row, "convo_id")?,
        has_other_admin: get(row, "has_other_admin")?,
        told_at: get(row, "told_at")?,
    })
}

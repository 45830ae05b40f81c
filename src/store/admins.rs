//! The role of admin in a conversation, and the GroupInfo kept for later joiners.

use super::{Store, StoreError, rows};
use crate::types::{CoarseTime, ConvoId, Did, Epoch};

/// What became of a change of role.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RoleOutcome {
    Done,
    LastAdmin,
    NotAdmin,
    NotMember,
    TargetNotMember,
    /// The target has the role already, or never had it.
    Unchanged,
}

/// A GroupInfo as its uploader gave it.
#[derive(Clone, Debug)]
pub struct GroupInfo {
    pub bytes: Vec<u8>,
    pub epoch: Epoch,
}

/// What became of an upload of GroupInfo.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GroupInfoOutcome {
    Done,
    NotMember,
    /// The conversation is not in its epoch.
    Stale,
}

impl Store {
    /// Makes an account admin, on all its devices, or takes the role away.
    pub async fn set_admin(
        &self,
        convo: &ConvoId,
        caller: &Did,
        target: &Did,
        admin: bool,
    ) -> Result<RoleOutcome, StoreError> {
        let row = &self
            .query_one(
                "SELECT set_admin($1, $2, $3, $4) AS outcome",
                &[&convo.expose(), &caller.expose(), &target.expose(), &admin],
            )
            .await?;
        Ok(match rows::get(row, "outcome")? {
            "done" => RoleOutcome::Done,
            "absent" => RoleOutcome::NotMember,
            "last_admin" => RoleOutcome::LastAdmin,
            "not_admin" => RoleOutcome::NotAdmin,
            "target_absent" => RoleOutcome::TargetNotMember,
            "unchanged" => RoleOutcome::Unchanged,
            _ => return Err(StoreError::Shape),
        })
    }

    /// When the account was last made admin, for the answer to its promoter.
    pub async fn promoted_at(
        &self,
        convo: &ConvoId,
        target: &Did,
    ) -> Result<Option<CoarseTime>, StoreError> {
        let found = self
            .query(
                "SELECT max(m.promoted_at) AS promoted_at FROM members m \
                 WHERE m.convo_id = $1 AND m.user_did = $2 AND m.left_seq IS NULL",
                &[&convo.expose(), &target.expose()],
            )
            .await?;
        found
            .first()
            .map_or(Ok(None), |row| rows::optional_time(row, "promoted_at"))
    }

    /// The GroupInfo of the current epoch, if it is kept: by one of an earlier epoch nobody
    /// comes in any more. Check the standing first.
    pub async fn group_info(&self, convo: &ConvoId) -> Result<Option<GroupInfo>, StoreError> {
        let found = self
            .query(
                "SELECT c.group_info, c.group_info_epoch FROM conversations c \
                 WHERE c.convo_id = $1 AND c.group_info_epoch = c.epoch",
                &[&convo.expose()],
            )
            .await?;
        found
            .first()
            .map(|row| {
                Ok(GroupInfo {
                    bytes: rows::get(row, "group_info")?,
                    epoch: rows::epoch(row, "group_info_epoch")?,
                })
            })
            .transpose()
    }

    /// Keeps the GroupInfo of the current epoch.
    pub async fn update_group_info(
        &self,
        convo: &ConvoId,
        caller: &Did,
        info: &GroupInfo,
    ) -> Result<GroupInfoOutcome, StoreError> {
        let row = &self
            .query_one(
                "SELECT update_group_info($1, $2, $3, $4) AS outcome",
                &[
                    &convo.expose(),
                    &caller.expose(),
                    &rows::int(info.epoch.get()),
                    &info.bytes,
                ],
            )
            .await?;
        Ok(match rows::get(row, "outcome")? {
            "done" => GroupInfoOutcome::Done,
            "absent" => GroupInfoOutcome::NotMember,
            "stale" => GroupInfoOutcome::Stale,
            _ => return Err(StoreError::Shape),
        })
    }
}

//! The role of admin in a conversation, and the GroupInfo kept for later joiners.

use tokio_postgres::Row;

use super::rows::{get, outcomes};
use super::{Params, Store, StoreError};
use crate::types::{CoarseTime, ConvoId, Did, Epoch};
use crate::wire::TextBytesOut;
use crate::wire::calls::GroupInfoView;

outcomes! {
    /// What became of a change of role.
    RoleOutcome {
        Done = "done",
        LastAdmin = "last_admin",
        NotAdmin = "not_admin",
        NotMember = "absent",
        TargetNotMember = "target_absent",
        /// The target has the role already, or never had it.
        Unchanged = "unchanged",
    }
}

outcomes! {
    /// What became of an upload of GroupInfo.
    GroupInfoOutcome {
        Done = "done",
        NotMember = "absent",
        /// The conversation is not in its epoch.
        Stale = "stale",
    }
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
        let sql = "SELECT set_admin($1, $2, $3, $4)";
        let params: Params<'_> = &[convo, caller, target, &admin];
        self.calls().value(sql, params).await
    }

    /// When the account was last made admin, for the answer to its promoter.
    pub async fn promoted_at(
        &self,
        convo: &ConvoId,
        target: &Did,
    ) -> Result<Option<CoarseTime>, StoreError> {
        let sql = "SELECT max(m.promoted_at) FROM members m \
                   WHERE m.convo_id = $1 AND m.user_did = $2 AND m.left_seq IS NULL";
        self.calls().value(sql, &[convo, target]).await
    }

    /// The GroupInfo of the current epoch, if it is kept: by one of an earlier epoch nobody
    /// comes in any more. None for who is not in.
    pub async fn group_info(
        &self,
        convo: &ConvoId,
        reader: &Did,
    ) -> Result<Option<GroupInfoView>, StoreError> {
        let sql = "SELECT c.group_info, c.group_info_epoch FROM conversations c \
                   WHERE c.convo_id = $1 AND c.group_info_epoch = c.epoch \
                   AND EXISTS (SELECT FROM members m WHERE m.convo_id = $1 \
                       AND m.user_did = $2 AND m.left_seq IS NULL)";
        let read = |row: &Row| {
            Ok(GroupInfoView {
                group_info: TextBytesOut(get(row, "group_info")?),
                epoch: get(row, "group_info_epoch")?,
            })
        };
        self.calls().first(sql, &[convo, reader], read).await
    }

    /// Keeps the GroupInfo of the current epoch.
    pub async fn update_group_info(
        &self,
        convo: &ConvoId,
        caller: &Did,
        epoch: Epoch,
        info: &[u8],
    ) -> Result<GroupInfoOutcome, StoreError> {
        let sql = "SELECT update_group_info($1, $2, $3, $4)";
        let params: Params<'_> = &[convo, caller, &epoch, &info];
        self.calls().value(sql, params).await
    }
}

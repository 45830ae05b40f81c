//! getGroupInfo, updateGroupInfo: what lets a member back in by external commit.

use super::context::Context;
use super::handshake;
use crate::refusal::Refusal;
use crate::store::{GroupInfo, GroupInfoOutcome};
use crate::wire::calls::{GetGroupInfo, GroupInfoView, UpdateGroupInfo, Updated};
use crate::wire::{TextBytesOut, XrpcError};

pub(super) async fn get(cx: &Context, input: GetGroupInfo) -> Result<GroupInfoView, XrpcError> {
    cx.standing(&input.convo_id).await?;
    let kept = cx.store.group_info(&input.convo_id).await?;
    let kept = kept.ok_or(Refusal::GroupInfoUnavailable)?;
    Ok(GroupInfoView {
        group_info: TextBytesOut(kept.bytes),
        epoch: kept.epoch,
    })
}

/// Keeps a GroupInfo, unless a later one is kept.
pub(super) async fn update(cx: &Context, input: UpdateGroupInfo) -> Result<Updated, XrpcError> {
    let (convo, epoch) = (&input.convo_id, input.epoch);
    let suite = cx.standing(convo).await?.cipher_suite;
    handshake::group_info(Some(&input.group_info), convo, suite, epoch)?;
    let info = GroupInfo {
        bytes: input.group_info.as_slice().to_vec(),
        epoch,
    };
    match cx.store.update_group_info(convo, cx.did(), &info).await? {
        GroupInfoOutcome::Done => Ok(Updated { updated: true }),
        GroupInfoOutcome::Stale => Ok(Updated { updated: false }),
        GroupInfoOutcome::NotMember => Err(Refusal::ConvoNotFound.into()),
    }
}

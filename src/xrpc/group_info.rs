//! getGroupInfo, updateGroupInfo: what lets a member back in by external commit, and the
//! commits that change nobody's seat.

use super::context::Context;
use super::handshake::{self, ReadCommit};
use crate::refusal::{Refusal, changed};
use crate::store::{GroupChange, GroupInfoOutcome};
use crate::types::{ConvoId, Epoch};
use crate::wire::calls::{GetGroupInfo, GroupInfoView, Handshake, UpdateGroupInfo, Updated};
use crate::wire::{XrpcError, invalid};

pub(super) async fn get(cx: &Context, input: GetGroupInfo) -> Result<GroupInfoView, XrpcError> {
    cx.standing(&input.convo_id).await?;
    let kept = cx.store.group_info(&input.convo_id, cx.did()).await?;
    kept.ok_or_else(|| Refusal::GroupInfoUnavailable.into())
}

/// Keeps the GroupInfo of the current epoch, or of the one that the commit beside it leads
/// to. Whose leaf such a commit takes out, members check: the relay holds no tree.
pub(super) async fn update(cx: &Context, input: UpdateGroupInfo) -> Result<Updated, XrpcError> {
    let (convo, epoch) = (input.convo_id, input.epoch);
    let standing = cx.standing(&convo).await?;
    let commit = cx
        .read_commit(input.commit.as_ref(), &convo, &standing)?
        .map(ReadCommit::adds_nobody)
        .transpose()?;
    let next = commit.as_ref().map(|commit| commit.epoch.next());
    if let Some(next) = next.filter(|next| *next != epoch) {
        let what = format_args!("must be {}, to which the commit leads", next.get());
        return Err(invalid("epoch", what));
    }
    let suite = standing.cipher_suite;
    let group_info = handshake::group_info(Some(&input.group_info), &convo, suite, epoch)?;
    if commit.is_none() {
        return keep(cx, &convo, &input.group_info, epoch).await;
    }
    let change = GroupChange {
        commit,
        group_info,
        ..cx.change(convo)
    };
    let made = changed(cx.store.change_group(&change).await?, change.bounds)?;
    Ok(Updated {
        updated: true,
        new_epoch: Some(made.epoch),
        receipt: made.receipt,
    })
}

async fn keep(
    cx: &Context,
    convo: &ConvoId,
    info: &Handshake,
    epoch: Epoch,
) -> Result<Updated, XrpcError> {
    let (caller, info) = (cx.did(), info.as_slice());
    let outcome = cx.store.update_group_info(convo, caller, epoch, info);
    let updated = match outcome.await? {
        GroupInfoOutcome::Done => true,
        GroupInfoOutcome::Stale => false,
        GroupInfoOutcome::NotMember => return Err(Refusal::ConvoNotFound.into()),
    };
    Ok(Updated {
        updated,
        new_epoch: None,
        receipt: None,
    })
}

//! addMembers, removeMember, leaveConvo: one change of the group each, with its
//! commit if there is one.

use super::blocks;
use super::context::Context;
use super::handshake::{self, ReadCommit};
use crate::refusal::{Made, Refusal, changed};
use crate::store::{GroupChange, Leaving, NewCommit, Standing};
use crate::types::ConvoId;
use crate::wire::XrpcError;
use crate::wire::calls::{AddMembers, Changed, Handshake, LeaveConvo, RemoveMember, Removed};

pub(super) async fn add(cx: &Context, input: AddMembers) -> Result<Changed, XrpcError> {
    let convo = input.convo_id;
    let standing = cx.standing(&convo).await?;
    let named = input.did_list.as_slice();
    let joining = handshake::joining(
        named.to_vec(),
        input.welcome_message.as_ref(),
        input.key_package_hashes.as_slice(),
        standing.cipher_suite,
        cx.settings.welcome_copies_bytes_max,
    )?;
    let commit = cx
        .read_commit(input.commit.as_ref(), &convo, &standing)?
        .map(|commit| commit.adds_those_welcomed(&joining))
        .transpose()?;
    let group_info = group_info(
        input.group_info.as_ref(),
        &convo,
        &standing,
        commit.as_ref(),
    )?;
    // One that is not of this epoch was accepted before, or is refused: it puts nobody anywhere.
    let puts_in = |commit: &NewCommit| commit.epoch == standing.epoch;
    if commit.as_ref().is_none_or(puts_in) {
        blocks::refuse_newcomers(cx, &convo, &joining.users).await?;
    }
    let change = GroupChange {
        commit,
        joining,
        group_info,
        ..cx.change(convo)
    };
    let outcome = cx.store.change_group(&change).await?;
    let made = changed(outcome, change.bounds);
    let made = made.map_err(|refused| refused.among("didList", named))?;
    Ok(Changed {
        success: true,
        new_epoch: made.epoch,
        receipt: made.receipt,
    })
}

pub(super) async fn remove(cx: &Context, input: RemoveMember) -> Result<Removed, XrpcError> {
    let standing = cx.standing(&input.convo_id).await?;
    if !standing.is_admin {
        return Err(Refusal::NotAdmin.into());
    }
    // A device of one's own may be removed; the whole account leaves instead.
    if input.target_did == *cx.did() && input.device_id.is_none() {
        return Err(Refusal::CannotRemoveSelf.into());
    }
    let going = Going {
        convo: input.convo_id,
        standing,
        leaving: Leaving {
            user: input.target_did,
            device: input.device_id,
            removed: true,
        },
    };
    let made = go(cx, going, input.commit.as_ref(), input.group_info.as_ref()).await?;
    Ok(Removed {
        ok: true,
        epoch_hint: made.epoch,
        new_epoch: made.epoch,
        receipt: made.receipt,
    })
}

pub(super) async fn leave(cx: &Context, input: LeaveConvo) -> Result<Changed, XrpcError> {
    let standing = cx.standing(&input.convo_id).await?;
    let user = input.target_did.unwrap_or_else(|| cx.did().clone());
    let is_other = user != *cx.did();
    if is_other && !standing.is_admin {
        return Err(Refusal::NotAdmin.into());
    }
    let going = Going {
        convo: input.convo_id,
        standing,
        leaving: Leaving {
            user,
            device: None,
            removed: is_other,
        },
    };
    let made = go(cx, going, input.commit.as_ref(), input.group_info.as_ref()).await?;
    Ok(Changed {
        success: true,
        new_epoch: made.epoch,
        receipt: made.receipt,
    })
}

/// Somebody goes, by their own will or not.
struct Going {
    convo: ConvoId,
    standing: Standing,
    leaving: Leaving,
}

async fn go(
    cx: &Context,
    going: Going,
    commit: Option<&Handshake>,
    info: Option<&Handshake>,
) -> Result<Made, XrpcError> {
    let commit = cx
        .read_commit(commit, &going.convo, &going.standing)?
        .map(ReadCommit::adds_nobody)
        .transpose()?;
    let group_info = group_info(info, &going.convo, &going.standing, commit.as_ref())?;
    let change = GroupChange {
        commit,
        leaving: Some(going.leaving),
        group_info,
        ..cx.change(going.convo)
    };
    Ok(changed(
        cx.store.change_group(&change).await?,
        change.bounds,
    )?)
}

/// The GroupInfo beside a change is of the epoch after its commit; without one,
/// of the current epoch.
fn group_info(
    info: Option<&Handshake>,
    convo: &ConvoId,
    standing: &Standing,
    commit: Option<&NewCommit>,
) -> Result<Option<Vec<u8>>, XrpcError> {
    let epoch = commit.map_or(standing.epoch, |commit| commit.epoch.next());
    handshake::group_info(info, convo, standing.cipher_suite, epoch)
}

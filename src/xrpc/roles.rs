//! promoteAdmin, demoteAdmin: the role is an account's, on all its devices.

use super::context::Context;
use crate::refusal::Refusal;
use crate::store::RoleOutcome;
use crate::wire::XrpcError;
use crate::wire::calls::{ChangeRole, Okay, Promoted};

pub(super) async fn promote(cx: &Context, input: ChangeRole) -> Result<Promoted, XrpcError> {
    set_admin(cx, &input, true).await?;
    let promoted_at = cx
        .store
        .promoted_at(&input.convo_id, &input.target_did)
        .await?;
    Ok(Promoted {
        ok: true,
        // Whoever left in the meantime was promoted all the same.
        promoted_at: promoted_at.unwrap_or_else(|| cx.now_coarse()),
    })
}

pub(super) async fn demote(cx: &Context, input: ChangeRole) -> Result<Okay, XrpcError> {
    set_admin(cx, &input, false).await?;
    Ok(Okay { ok: true })
}

async fn set_admin(cx: &Context, input: &ChangeRole, admin: bool) -> Result<(), XrpcError> {
    let outcome = cx
        .store
        .set_admin(&input.convo_id, cx.did(), &input.target_did, admin)
        .await?;
    Err(match outcome {
        RoleOutcome::Done => return Ok(()),
        RoleOutcome::LastAdmin => Refusal::LastAdmin,
        RoleOutcome::NotAdmin => Refusal::NotAdmin,
        RoleOutcome::NotMember => Refusal::ConvoNotFound,
        RoleOutcome::TargetNotMember => Refusal::TargetNotMember,
        RoleOutcome::Unchanged if admin => Refusal::AlreadyAdmin,
        RoleOutcome::Unchanged => Refusal::NotAdminTarget,
    }
    .into())
}

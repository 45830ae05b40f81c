//! checkBlocks, getBlockStatus, handleBlockChange, and what blocks mean for who may
//! be put into a conversation with whom.

use super::context::Context;
use crate::blocks::BlocksError;
use crate::refusal::Refusal;
use crate::store::AffectedConvo;
use crate::types::{ConvoId, Did};
use crate::wire::XrpcError;
use crate::wire::calls::{
    AffectedConvoView, BlockAction, BlockStatus, CheckBlocks, CheckedBlocks, GetBlockStatus,
    HandleBlockChange, HandledBlockChange,
};

/// Who of these accounts blocks whom.
pub(super) async fn check(cx: &Context, input: CheckBlocks) -> Result<CheckedBlocks, XrpcError> {
    let mut dids = input.dids.into_vec();
    dids.sort_unstable();
    dids.dedup();
    let blocks = cx.blocks.among(cx.did(), &dids).await?;
    Ok(CheckedBlocks {
        blocks,
        checked_at: cx.now_coarse(),
    })
}

/// Blocks between members. Of a large conversation, and for those who ask very often, those that
/// the relay was told of.
pub(super) async fn status(cx: &Context, input: GetBlockStatus) -> Result<BlockStatus, XrpcError> {
    let members = cx.store.member_dids(&input.convo_id).await?;
    // Afterwards, so that nobody is told what came after their own demotion.
    cx.must_be_admin(&input.convo_id).await?;
    let (blocks, is_complete) = match cx.blocks.among(cx.did(), &members).await {
        Ok(blocks) => (blocks, true),
        Err(BlocksError::TooManyQuestions | BlocksError::TooOften { .. }) => {
            (cx.store.blocks_among(&members).await?, false)
        }
        Err(error) => return Err(error.into()),
    };
    Ok(BlockStatus {
        convo_id: input.convo_id,
        has_conflicts: !blocks.is_empty(),
        blocks,
        checked_at: cx.now_coarse(),
        member_count: members.len().try_into().unwrap_or(u64::MAX),
        is_complete,
    })
}

/// A block was made or lifted, says one of the two; believed when the AppView says so.
pub(super) async fn change(
    cx: &Context,
    input: HandleBlockChange,
) -> Result<HandledBlockChange, XrpcError> {
    let (blocker, blocked) = (&input.blocker_did, &input.blocked_did);
    if ![blocker, blocked].contains(&cx.did()) || blocker == blocked {
        return Err(Refusal::NotAParty.into());
    }
    let is_made = input.action == BlockAction::Created;
    let there = cx.blocks.ask_now(cx.did(), blocker, blocked).await?;
    if there.is_some() != is_made {
        return Err(Refusal::BlockNotVerified.into());
    }
    let affected = cx.store.change_block(blocker, blocked, is_made).await?;
    let view = |convo: AffectedConvo| AffectedConvoView {
        convo_id: convo.convo,
        action: match (is_made, convo.has_other_admin) {
            (false, _) => "no_action",
            (true, true) => "admin_notified",
            (true, false) => "requires_resolution",
        },
        admin_notified: convo.told_at.is_some(),
        notification_sent_at: convo.told_at,
    };
    Ok(HandledBlockChange {
        affected_convos: affected.into_iter().map(view).collect(),
    })
}

/// Nobody is put into a new conversation with somebody who blocks them. Without an
/// AppView nobody knows of blocks; with one that does not answer, nobody is put
/// anywhere.
pub(super) async fn refuse_founding(cx: &Context, members: &[Did]) -> Result<(), XrpcError> {
    let founder = std::slice::from_ref(cx.did());
    match blocks_of(cx, members, founder).await? {
        true => Err(Refusal::MutualBlockDetected.into()),
        false => Ok(()),
    }
}

/// The same for those who are added. Further devices of members bring nobody new.
pub(super) async fn refuse_newcomers(
    cx: &Context,
    convo: &ConvoId,
    added: &[Did],
) -> Result<(), XrpcError> {
    if !cx.blocks.has_appview() {
        return Ok(());
    }
    let members = cx.store.member_dids(convo).await?;
    let newcomers: Vec<Did> = added
        .iter()
        .filter(|did| !members.contains(did))
        .cloned()
        .collect();
    match blocks_of(cx, &newcomers, &members).await? {
        true => Err(Refusal::BlockedByMember.into()),
        false => Ok(()),
    }
}

async fn blocks_of(cx: &Context, newcomers: &[Did], members: &[Did]) -> Result<bool, XrpcError> {
    let caller = std::slice::from_ref(cx.did());
    let asked = match cx.blocks.of_newcomers(newcomers, members).await {
        Err(BlocksError::TooManyQuestions) => {
            // Whoever brings others together brings enough of them that nobody asks about all.
            if is_told_of(cx, newcomers, members).await? {
                return Ok(true);
            }
            cx.blocks.of_newcomers(caller, newcomers).await
        }
        asked => asked,
    };
    match asked {
        Ok(blocks) => Ok(!blocks.is_empty()),
        Err(BlocksError::NobodyToAsk) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the relay was told of a block between one of `newcomers` and any of them all.
async fn is_told_of(cx: &Context, newcomers: &[Did], members: &[Did]) -> Result<bool, XrpcError> {
    let told = cx
        .store
        .blocks_among(&[newcomers, members].concat())
        .await?;
    let is_new = |did: &Did| newcomers.contains(did);
    Ok(told
        .iter()
        .any(|block| is_new(&block.blocker_did) || is_new(&block.blocked_did)))
}

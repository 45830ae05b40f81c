//! optIn, optOut, getOptInStatus: what accounts wish, for those who add them to ask. The
//! relay keeps nobody out for it.

use super::context::Context;
use crate::wire::XrpcError;
use crate::wire::calls::{
    GetOptInStatus, NoInput, OptInInput, OptInStatus, OptInStatuses, OptedIn, Success,
};

pub(super) async fn opt_in(cx: &Context, _: OptInInput) -> Result<OptedIn, XrpcError> {
    Ok(OptedIn {
        opted_in: true,
        opted_in_at: cx.store.opt_in(cx.did()).await?,
    })
}

pub(super) async fn opt_out(cx: &Context, _: NoInput) -> Result<Success, XrpcError> {
    Ok(Success {
        success: cx.store.opt_out(cx.did()).await?,
    })
}

/// Who of these accounts has opted in, in the order of the question.
pub(super) async fn status(
    cx: &Context,
    input: GetOptInStatus,
) -> Result<OptInStatuses, XrpcError> {
    let dids = input.dids.into_vec();
    let opted = cx.store.opt_ins(&dids).await?;
    let statuses = dids.into_iter().map(|did| OptInStatus {
        opted_in: opted.contains_key(&did),
        opted_in_at: opted.get(&did).copied(),
        did,
    });
    Ok(OptInStatuses {
        statuses: statuses.collect(),
    })
}

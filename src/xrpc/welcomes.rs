//! getWelcome, confirmWelcome.

use super::context::Context;
use crate::refusal::Refusal;
use crate::store::WelcomeAnswer;
use crate::wire::calls::{ConfirmWelcome, Confirmed, GetWelcome, WelcomeView};
use crate::wire::{TextBytesOut, XrpcError};

/// The Welcome that waits for the caller. Served again until it is confirmed.
pub(super) async fn fetch(cx: &Context, input: GetWelcome) -> Result<WelcomeView, XrpcError> {
    let answer = cx
        .store
        .welcome(&input.convo_id, cx.did(), input.device_id.as_ref())
        .await?;
    match answer {
        WelcomeAnswer::Welcome(bytes) => Ok(WelcomeView {
            convo_id: input.convo_id,
            welcome: TextBytesOut(bytes),
        }),
        WelcomeAnswer::None => Err(Refusal::WelcomeNotFound.into()),
        WelcomeAnswer::NotMember => Err(Refusal::ConvoNotFound.into()),
    }
}

/// Ends the wait. A client that could not use its Welcome says so, and may ask
/// for it again.
pub(super) async fn confirm(cx: &Context, input: ConfirmWelcome) -> Result<Confirmed, XrpcError> {
    cx.standing(&input.convo_id).await?;
    if input.success {
        cx.store
            .confirm_welcome(&input.convo_id, cx.did(), input.device_id.as_ref())
            .await?;
    } else {
        metrics::counter!("relay_calls_welcomes_failed_total").increment(1);
    }
    Ok(Confirmed { confirmed: true })
}

//! getSubscriptionTicket.

use super::context::Context;
use crate::wire::XrpcError;
use crate::wire::calls::{GetSubscriptionTicket, SubscriptionTicket};

/// A ticket that opens one stream, of all the caller's conversations or of one.
pub(super) async fn subscription(
    cx: &Context,
    input: GetSubscriptionTicket,
) -> Result<SubscriptionTicket, XrpcError> {
    if let Some(convo) = &input.convo_id {
        cx.standing(convo).await?;
    }
    let ticket = cx.auth.issue_ticket(&cx.caller, input.convo_id.as_ref())?;
    Ok(SubscriptionTicket {
        ticket: ticket.token,
        endpoint: cx.settings.stream_endpoint.clone(),
        expires_at: ticket.expires_at,
    })
}

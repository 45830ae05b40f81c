//! Pure. getSubscriptionTicket.

use serde::{Deserialize, Serialize};

use crate::types::{CoarseTime, ConvoId};

/// `getSubscriptionTicket`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetSubscriptionTicket {
    pub convo_id: Option<ConvoId>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionTicket {
    pub ticket: String,
    /// Where to dial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    pub expires_at: CoarseTime,
}

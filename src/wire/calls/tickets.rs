//! Pure. getSubscriptionTicket.

use crate::types::{CoarseTime, ConvoId};

input! {
    /// `getSubscriptionTicket`.
    pub struct GetSubscriptionTicket {
        pub convo_id: Option<ConvoId>,
    }
}

output! {
    pub struct SubscriptionTicket {
        pub ticket: String,
        /// Where to dial.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub endpoint: Option<String>,
        pub expires_at: CoarseTime,
    }
}

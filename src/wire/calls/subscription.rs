//! Pure. subscribeConvoEvents, streamConvoEvents, getSubscriptionTicket.

use serde::{Deserialize, Deserializer, Serialize};

use crate::types::{CoarseTime, ConvoId, Cursor, unprintable};
use crate::wire::Text;

input! {
    /// `subscribeConvoEvents`, and `streamConvoEvents`, which takes the same.
    pub struct SubscribeConvoEvents {
        pub cursor: Option<Cursor>,
        pub convo_id: Option<ConvoId>,
        pub ticket: Option<TicketText>,
        /// Whether messages come with their events.
        pub hydrate: Option<bool>,
    }

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

/// A ticket on its way. It names its account to whoever reads it, so it cannot be printed.
#[derive(Clone, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TicketText(String);

unprintable!(TicketText);

impl TicketText {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The raw text, for the area that checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for TicketText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::<1, 4096>::deserialize(deserializer)?;
        Ok(Self(text.into_string()))
    }
}

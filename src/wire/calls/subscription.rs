//! Pure. subscribeConvoEvents.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{ConvoId, Cursor};

/// `subscribeConvoEvents`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeConvoEvents {
    pub cursor: Option<Cursor>,
    pub convo_id: Option<ConvoId>,
    pub ticket: Option<TicketText>,
}

/// A ticket on its way. It names its account to whoever reads it, so it cannot be printed.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct TicketText(String);

impl TicketText {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The raw text, for the area that checks it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TicketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketText(~)")
    }
}

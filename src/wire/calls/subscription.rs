//! Pure. subscribeConvoEvents, streamConvoEvents.

use std::fmt;

use serde::Deserialize;

use crate::types::{ConvoId, Cursor};
use crate::wire::Text;

/// `subscribeConvoEvents`, and `streamConvoEvents`, which takes the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeConvoEvents {
    pub cursor: Option<Cursor>,
    pub convo_id: Option<ConvoId>,
    pub ticket: Option<TicketText>,
}

/// A ticket as it was sent, which nobody but its issuer can read.
#[derive(Clone, Deserialize, Eq, PartialEq)]
#[serde(transparent)]
pub struct TicketText(Text<1, 4096>);

impl TicketText {
    /// The raw text, for the area that checks it.
    pub fn expose(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for TicketText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketText(~)")
    }
}

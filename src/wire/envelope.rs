//! Pure. The stored JSON envelope of an event: what it is called, whom it concerns.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::field::{Field, Fields, text};
use crate::types::{ConvoId, Cursor, Did, MessageId};

/// An envelope, borrowed from its text. A message is exactly
/// `{"cursor","convoId","messageId"}`; everything else names its `type`.
pub struct Envelope<'a> {
    pub(super) fields: Fields<'a>,
    cursor: Cursor,
    route: Route,
}

/// Who hears of an event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Route {
    /// All sessions of one account: news that belongs to no conversation.
    Account(Did),
    /// The members of a conversation.
    Convo(ConvoId),
    /// The members of a conversation, whose circle it widens or narrows: the
    /// first event that a newcomer hears, or the last one that a leaver hears.
    Membership {
        convo: ConvoId,
        did: Did,
        change: Change,
    },
}

/// What a membership event does to its subject.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Change {
    Joined,
    Left,
}

/// Why a text is not an envelope. Never echoes the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("an envelope names no cursor")]
    Cursor,
    #[error("an envelope is not a JSON object of the data model")]
    Json,
    #[error("an envelope says of nobody whom it concerns")]
    Route,
}

/// The texts of the envelopes in a notification, which is a JSON array of them.
pub fn envelopes(payload: &str) -> Result<Vec<&str>, EnvelopeError> {
    let raw: Vec<&RawValue> = serde_json::from_str(payload).map_err(|_| EnvelopeError::Json)?;
    Ok(raw.into_iter().map(RawValue::get).collect())
}

impl<'a> Envelope<'a> {
    /// Reads one JSON object. Fails if it has no cursor, or neither a conversation nor an account.
    pub fn parse(input: &'a str) -> Result<Self, EnvelopeError> {
        let Ok(Field::Map(fields)) = serde_json::from_str(input) else {
            return Err(EnvelopeError::Json);
        };
        let cursor = text(&fields, "cursor").ok_or(EnvelopeError::Cursor)?;
        let cursor = Cursor::parse(cursor).map_err(|_| EnvelopeError::Cursor)?;
        let route = route(&fields)?;
        Ok(Self {
            fields,
            cursor,
            route,
        })
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    /// Whether it announces a message.
    pub fn is_message(&self) -> bool {
        text(&self.fields, "type").is_none()
    }

    /// The message that it announces.
    pub fn message_id(&self) -> Option<MessageId> {
        let id = text(&self.fields, "messageId").filter(|_| self.is_message())?;
        MessageId::parse(id).ok()
    }

    /// The `t` of the event's frame. A type this version does not know (a newer
    /// node wrote it) passes on under its own name: clients ignore what they do
    /// not know, and nothing is lost during a rolling upgrade.
    pub(super) fn name(&self) -> Cow<'static, str> {
        match text(&self.fields, "type") {
            None => Cow::Borrowed("#messageEvent"),
            Some("epochAdvanced") => Cow::Borrowed("#epochAdvanced"),
            Some("membershipChange") => Cow::Borrowed("#membershipChangeEvent"),
            Some("newDevice") => Cow::Borrowed("#newDeviceEvent"),
            Some("readditionRequested") => Cow::Borrowed("#readditionRequestedEvent"),
            Some(other) => Cow::Owned(format!("#{other}")),
        }
    }
}

fn route(fields: &Fields<'_>) -> Result<Route, EnvelopeError> {
    let did = || Did::parse(text(fields, "did").unwrap_or_default());
    let Some(convo) = text(fields, "convoId") else {
        return did().map(Route::Account).map_err(|_| EnvelopeError::Route);
    };
    let convo = ConvoId::parse(convo).map_err(|_| EnvelopeError::Route)?;
    if text(fields, "type") != Some("membershipChange") {
        return Ok(Route::Convo(convo));
    }
    let change = match text(fields, "action") {
        Some("joined") => Change::Joined,
        Some("left" | "removed" | "kicked") => Change::Left,
        // A change of role or the like moves nobody in or out.
        _ => return Ok(Route::Convo(convo)),
    };
    let did = did().map_err(|_| EnvelopeError::Route)?;
    Ok(Route::Membership { convo, did, change })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: &str = "01HF4Y8R000000000000000019";

    #[test]
    fn a_message_goes_to_its_conversation() {
        let text = format!(r#"{{"cursor":"{CURSOR}","convoId":"ab01","messageId":"X"}}"#);
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(envelope.cursor().seq().get(), 41);
        assert_eq!(envelope.name(), "#messageEvent");
        let convo = ConvoId::parse("ab01").unwrap();
        assert_eq!(*envelope.route(), Route::Convo(convo));
    }

    #[test]
    fn a_membership_change_moves_its_subject() {
        for (action, change) in [("joined", Change::Joined), ("removed", Change::Left)] {
            let text = format!(
                r#"{{"cursor":"{CURSOR}","convoId":"ab01","type":"membershipChange",
                    "did":"did:plc:bob","action":"{action}","epoch":3}}"#
            );
            let envelope = Envelope::parse(&text).unwrap();
            assert_eq!(envelope.name(), "#membershipChangeEvent");
            assert!(
                matches!(envelope.route(), Route::Membership { change: c, .. } if *c == change)
            );
        }
    }

    #[test]
    fn news_without_a_conversation_go_to_their_account() {
        let text = format!(r#"{{"cursor":"{CURSOR}","type":"keyPackages","did":"did:plc:bob"}}"#);
        let envelope = Envelope::parse(&text).unwrap();
        assert_eq!(envelope.name(), "#keyPackages");
        assert!(matches!(envelope.route(), Route::Account(_)));
    }

    #[test]
    fn what_is_no_envelope_is_refused() {
        let error = |text: &str| Envelope::parse(text).err();
        assert_eq!(error("[]"), Some(EnvelopeError::Json));
        assert_eq!(error("{}"), Some(EnvelopeError::Cursor));
        let nobody = format!(r#"{{"cursor":"{CURSOR}"}}"#);
        assert_eq!(error(&nobody), Some(EnvelopeError::Route));
    }
}

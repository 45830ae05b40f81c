//! Pure. The XRPC error envelope (ATProto XRPC specification, "Error Responses").

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;

use crate::types::Epoch;

/// The statuses that the relay answers with when it refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum XrpcStatus {
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    Conflict = 409,
    PayloadTooLarge = 413,
    UnsupportedMediaType = 415,
    UpgradeRequired = 426,
    TooManyRequests = 429,
    HeadTooLarge = 431,
    Internal = 500,
    NotImplemented = 501,
    BadGateway = 502,
    Unavailable = 503,
    GatewayTimeout = 504,
}

/// What the other end is told: a status, a name that clients match on, a sentence
/// for people, and when to come back. Holds nothing internal and no identity.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct XrpcError {
    pub status: XrpcStatus,
    /// The error's name in the lexicon, such as `EpochMismatch`.
    pub name: &'static str,
    /// For people; programs go by the name. `field: what is wrong; what to do`, of which the
    /// first and the last may be missing. The field is the path in the lexicon, or a header. It
    /// is, has or must be something, with the bound and the size that came, and never with a
    /// value that came: that may be an identity. In lower case, without a full stop, names as
    /// they are; so that what is added before and behind makes it no other sentence.
    pub message: Cow<'static, str>,
    /// Sent as `Retry-After`, in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    /// Of an `EpochMismatch`, beside the message: the epoch that the conversation is in.
    pub current_epoch: Option<Epoch>,
    pub instead: Option<Instead>,
}

/// What would do in place of what was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Instead {
    /// Sent as `Allow` (RFC 9110 section 15.5.6).
    Methods(&'static str),
    /// Sent as `Accept-Encoding` (section 15.5.16).
    Codings(&'static str),
}

impl XrpcError {
    pub fn new(
        status: XrpcStatus,
        name: &'static str,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            name,
            message: message.into(),
            retry_after: None,
            current_epoch: None,
            instead: None,
        }
    }

    /// 400 for a field.
    pub fn of_field(name: &'static str, field: &str, what: impl Display) -> Self {
        Self::new(XrpcStatus::BadRequest, name, format!("{field}: {what}"))
    }

    /// Says the wait in words as well: a PDS that forwards a call keeps no header of a refusal.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let seconds = whole_seconds(wait);
        self.message = format!("{}; come back in {seconds} s", self.message).into();
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn current_epoch(mut self, epoch: Epoch) -> Self {
        self.current_epoch = Some(epoch);
        self
    }

    #[must_use]
    pub fn instead(mut self, instead: Instead) -> Self {
        self.instead = Some(instead);
        self
    }

    /// The body: `{"error": name, "message": text}`, and what a client would else have to
    /// read out of the text. The reference client passes over fields that it does not know.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Envelope<'a> {
            error: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            current_epoch: Option<Epoch>,
        }
        let envelope = Envelope {
            error: self.name,
            message: &self.message,
            current_epoch: self.current_epoch,
        };
        // Two strings and a number always serialize.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

/// Rounded up: a client that waits exactly so long must get in.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_has_a_name_and_a_message() {
        let error = XrpcError::new(XrpcStatus::Conflict, "EpochMismatch", "the epoch is 3");
        assert_eq!(
            String::from_utf8(error.to_json()).unwrap(),
            r#"{"error":"EpochMismatch","message":"the epoch is 3"}"#
        );
        let error = error.current_epoch(Epoch::try_from(3).unwrap());
        assert_eq!(
            String::from_utf8(error.to_json()).unwrap(),
            r#"{"error":"EpochMismatch","message":"the epoch is 3","currentEpoch":3}"#
        );
    }
}

//! Pure. How the relay answered the hostile, by kind.

use std::collections::BTreeMap;

use hyper::StatusCode;
use serde::Serialize;

use crate::relay::ConnectError;
use crate::subscription::SubscriptionError;
use crate::xrpc_client::CallError;

/// What became of one attempt.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// They got what they wanted.
    Served,
    /// 401: refused, after the work of judging the token.
    Unauthorized,
    /// The connection was closed or reset before it was any use.
    Closed,
    /// 413.
    TooLarge,
    /// 429.
    TooMany,
    /// 503: the node protects itself.
    Unavailable,
    /// A `RateLimited` frame.
    FrameRefused,
    /// The socket was closed after frames on it were refused.
    SocketClosed,
    /// No answer in time.
    Silence,
    /// Something else.
    Other,
}

pub type Outcomes = BTreeMap<Outcome, u64>;

impl Outcome {
    /// Whether a limit did this.
    fn is_limit(self) -> bool {
        match self {
            Self::Closed
            | Self::TooLarge
            | Self::TooMany
            | Self::FrameRefused
            | Self::SocketClosed => true,
            Self::Served | Self::Unauthorized | Self::Unavailable | Self::Silence | Self::Other => {
                false
            }
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Unauthorized => "401",
            Self::Closed => "closed",
            Self::TooLarge => "413",
            Self::TooMany => "429",
            Self::Unavailable => "503",
            Self::FrameRefused => "frame refused",
            Self::SocketClosed => "socket closed",
            Self::Silence => "no answer",
            Self::Other => "other",
        }
    }

    pub fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthorized,
            StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            status if status.is_success() => Self::Served,
            _ => Self::Other,
        }
    }

    pub fn of_call<T>(answer: &Result<T, CallError>) -> Self {
        match answer {
            Ok(_) => Self::Served,
            Err(CallError::Refused { status, .. }) => Self::of_status(*status),
            Err(CallError::Connect(error)) => Self::of_connect(error),
            Err(CallError::Http(_)) => Self::Closed,
            Err(CallError::Deadline) => Self::Silence,
            Err(CallError::Answer { .. } | CallError::Request(_) | CallError::Token(_)) => {
                Self::Other
            }
        }
    }

    pub fn of_subscription(error: &SubscriptionError) -> Self {
        match error {
            SubscriptionError::Connect(error) => Self::of_connect(error),
            SubscriptionError::Refused(status) => Self::of_status(*status),
            SubscriptionError::Deadline => Self::Silence,
            SubscriptionError::Gone(_) => Self::Closed,
            SubscriptionError::Ended(_)
            | SubscriptionError::Frame(_)
            | SubscriptionError::Request(_)
            | SubscriptionError::Token(_) => Self::Other,
        }
    }

    pub fn of_connect(error: &ConnectError) -> Self {
        match error {
            ConnectError::Io { .. } => Self::Closed,
            ConnectError::Deadline { .. } => Self::Silence,
            ConnectError::Certificate(_)
            | ConnectError::Roots { .. }
            | ConnectError::NoRoots(_)
            | ConnectError::Address(_) => Self::Other,
        }
    }
}

/// One kind of abuse, as it went.
#[derive(Clone, Debug, Serialize)]
pub struct Attack {
    pub name: &'static str,
    pub attempts: u64,
    /// How many of them a limit stopped.
    pub limited: u64,
    pub outcomes: Outcomes,
}

impl Attack {
    pub fn new(name: &'static str, outcomes: Outcomes) -> Self {
        let limited = outcomes.iter().filter(|(outcome, _)| outcome.is_limit());
        Self {
            name,
            attempts: outcomes.values().sum(),
            limited: limited.map(|(_, count)| count).sum(),
            outcomes,
        }
    }

    /// `66 401, 900 429`.
    pub fn told(&self) -> String {
        let parts = self.outcomes.iter();
        let parts = parts.map(|(outcome, count)| format!("{count} × {}", outcome.name()));
        parts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_was_judged_was_not_limited() {
        let outcomes = [(Outcome::Unauthorized, 66), (Outcome::TooMany, 900)];
        let attack = Attack::new("bad tokens", outcomes.into());
        assert_eq!((attack.attempts, attack.limited), (966, 900));
        assert_eq!(attack.told(), "66 × 401, 900 × 429");
        let json = serde_json::to_value(&attack).unwrap();
        assert_eq!(json["outcomes"]["too_many"], 900);
    }
}

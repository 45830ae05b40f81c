//! Pure. The one place where an internal error becomes what the other end is
//! told: `From<…Error> for XrpcError` for every area, and nothing elsewhere.

mod calls;
mod limits;
mod outcomes;

use std::borrow::Cow;
use std::time::Duration;

use crate::auth::{AuthError, ResolveError, TokenError};
use crate::store::StoreError;
use crate::wire::{Instead, THE_REQUEST, XrpcError, XrpcStatus};

pub use calls::Refusal;
pub use limits::words;
pub use outcomes::{Made, Refused, changed, claimed_too_often, published, requested};

impl From<AuthError> for XrpcError {
    fn from(error: AuthError) -> Self {
        let name = match &error {
            AuthError::CredentialMissing => "AuthenticationRequired",
            AuthError::Issuer { source, pause } => return refuse_issuer(source, *pause),
            AuthError::SignatureWrong | AuthError::TicketForeign => "BadJwtSignature",
            AuthError::Signing => return Refusal::Internal.into(),
            AuthError::Store(error) => return error.clone().into(),
            AuthError::TicketRefused(reason) | AuthError::Token(reason) => {
                token_error_name(*reason)
            }
            AuthError::TicketRevoked => "BadJwt",
            AuthError::TokenUsed => "JwtReplayed",
        };
        Self::new(XrpcStatus::Unauthorized, name, error.to_string())
    }
}

/// The names of the ATProto reference server.
fn token_error_name(error: TokenError) -> &'static str {
    match error {
        TokenError::AudienceMissing | TokenError::AudienceWrong => "BadJwtAudience",
        TokenError::Expired => "JwtExpired",
        TokenError::IssuerMalformed | TokenError::IssuerMissing => "BadJwtIss",
        TokenError::MethodMissing | TokenError::MethodWrong => "BadJwtLexiconMethod",
        TokenError::TypeRefused => "BadJwtType",
        TokenError::AlgorithmRefused
        | TokenError::CritRefused
        | TokenError::ExpiryMissing
        | TokenError::FromTheFuture(_)
        | TokenError::KeyIdUnknown
        | TokenError::LifetimeTooLong(_)
        | TokenError::Malformed
        | TokenError::NonceMissing
        | TokenError::NotSeconds(_)
        | TokenError::NotText(_)
        | TokenError::TooLong(_) => "BadJwt",
    }
}

/// When the network failed, the caller is not to blame and may come back: after the `pause`, for
/// until then it would hear the same.
fn refuse_issuer(error: &ResolveError, pause: Duration) -> XrpcError {
    let seconds = Duration::from_secs;
    let wait = pause.max(seconds(5));
    let (status, name, wait) = match error {
        error if error.is_definite() => {
            return XrpcError::new(XrpcStatus::Unauthorized, "BadJwtIss", error.to_string());
        }
        ResolveError::Busy => (XrpcStatus::Unavailable, "NotEnoughResources", seconds(1)),
        ResolveError::RefreshesSpent { wait } => {
            let message = "too many wrong signatures from this address to look for a new key";
            return too_often(message, *wait);
        }
        ResolveError::Resting { wait } => (XrpcStatus::Unavailable, "NotEnoughResources", *wait),
        ResolveError::TimedOut => (XrpcStatus::GatewayTimeout, "UpstreamTimeout", wait),
        _ => (XrpcStatus::BadGateway, "UpstreamFailure", wait),
    };
    let message = "the issuer's DID document cannot be read at the moment";
    XrpcError::new(status, name, message).retry_after(wait)
}

impl From<StoreError> for XrpcError {
    fn from(error: StoreError) -> Self {
        if !error.is_transient() {
            return Refusal::Internal.into();
        }
        let message = "the database does not answer at the moment";
        unavailable(message, Duration::from_secs(1))
    }
}

/// The relay cannot now; it may soon.
pub fn unavailable(message: &'static str, wait: Duration) -> XrpcError {
    XrpcError::new(XrpcStatus::Unavailable, "NotEnoughResources", message).retry_after(wait)
}

/// Somebody has asked too often, or for too much.
fn too_often(message: impl Into<Cow<'static, str>>, wait: Duration) -> XrpcError {
    XrpcError::new(XrpcStatus::TooManyRequests, "RateLimitExceeded", message).retry_after(wait)
}

/// 405, with the methods that would do.
pub fn wrong_method(allowed: &'static str) -> XrpcError {
    let message = format!(
        "{THE_REQUEST}: must be made with {}",
        allowed.replace(", ", " or ")
    );
    XrpcError::new(XrpcStatus::MethodNotAllowed, "InvalidRequest", message)
        .instead(Instead::Methods(allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_be_looked_up_comes_back_when_somebody_would_be_asked_again() {
        let wait = |source, pause| {
            let pause = Duration::from_secs(pause);
            let told = XrpcError::from(AuthError::Issuer { source, pause });
            told.retry_after.map(|wait| wait.as_secs())
        };
        let rest = Duration::from_secs(40);
        assert_eq!(wait(ResolveError::Resting { wait: rest }, 60), Some(40));
        assert_eq!(wait(ResolveError::TimedOut, 2), Some(5));
        assert_eq!(wait(ResolveError::TimedOut, 60), Some(60));
        assert_eq!(wait(ResolveError::NotFound, 60), None);
    }
}

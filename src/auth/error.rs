//! Pure. Why a caller is not let in. Nothing of the token or the account is in it.

use std::time::Duration;

use super::did_document::DocumentError;
use super::did_location::LocationError;
use super::token::TokenError;
use crate::outbound::FetchError;
use crate::store::StoreError;

/// A refusal, or a failure to find out. `Store`, `Signing` and an `Issuer` that nobody
/// told us of are not about the caller, and are never told as "unauthorized".
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuthError {
    #[error("Authorization: must be Bearer and a service token, given once")]
    CredentialMissing,
    #[error("the signature is not by the account's current #atproto key, with a low S")]
    SignatureWrong,
    #[error("the token or ticket was used before; get one for each request")]
    TokenUsed,
    #[error("the ticket is signed by another relay; get one of this")]
    TicketForeign,
    #[error("the ticket is not one that this relay gave out; get another")]
    TicketRefused(TokenError),
    #[error("the ticket was revoked, for its account or a device of it was deleted; get another")]
    TicketRevoked,
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Nothing is tried again for so long after a lookup that failed.
    #[error("the issuer's key is not known")]
    Issuer {
        source: ResolveError,
        pause: Duration,
    },
    #[error("the nonce could not be checked")]
    Store(#[from] StoreError),
    #[error("a ticket could not be signed")]
    Signing,
}

impl AuthError {
    /// A closed label for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::CredentialMissing => "credential_missing",
            Self::Issuer { source, .. } if source.is_definite() => "issuer_unknown",
            Self::Issuer {
                source: ResolveError::RefreshesSpent { .. },
                ..
            }
            | Self::SignatureWrong
            | Self::TicketForeign => "signature_wrong",
            Self::Issuer { .. } => "issuer_unreachable",
            Self::Signing => "signing_failed",
            Self::Store(_) => "store_failed",
            Self::TicketRevoked => "ticket_revoked",
            Self::Token(TokenError::Expired) => "token_expired",
            Self::TicketRefused(_) | Self::Token(_) => "token_refused",
            Self::TokenUsed => "token_used",
        }
    }
}

/// Why a DID has no key for us.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("too many lookups at once")]
    Busy,
    #[error("the document could not be fetched")]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Document(#[from] DocumentError),
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("the issuer's DID does not exist")]
    NotFound,
    /// The key may be another by now, but the network has sent too many wrong signatures.
    #[error("too many keys were looked up anew for this network")]
    RefreshesSpent { wait: Duration },
    /// The directory said that it is asked too often.
    #[error("the directory is left alone for a while")]
    Resting { wait: Duration },
    #[error("the document did not come in time")]
    TimedOut,
}

impl ResolveError {
    /// Whether the answer is about the account. The others are about the network
    /// and say nothing of the account.
    pub(crate) fn is_definite(&self) -> bool {
        match self {
            Self::Location(_) | Self::NotFound => true,
            // Half a document is what a broken directory sends as well.
            Self::Document(reason) => *reason != DocumentError::NotADocument,
            Self::Busy
            | Self::Fetch(_)
            | Self::RefreshesSpent { .. }
            | Self::Resting { .. }
            | Self::TimedOut => false,
        }
    }
}

//! Pure. What the store and the other areas say to a call, as a result for it.

use std::time::Duration;

use serde_json::value::RawValue;

use super::Refusal;
use crate::auth::AuthError;
use crate::blocks::BlocksError;
use crate::events::PassingError;
use crate::store::{AppendError, ChangeOutcome, PublishOutcome, RejoinOutcome};
use crate::types::{CoarseTime, Epoch};
use crate::wire::{XrpcError, XrpcStatus};

impl From<AppendError> for XrpcError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Refusal::Conflict.into(),
            AppendError::EpochMismatch { current } => Refusal::EpochMismatch { current }.into(),
            AppendError::Full { retry_after } => {
                unavailable("Too many messages are waiting to be stored.", retry_after)
            }
            AppendError::NonceUsed => AuthError::TokenUsed.into(),
            AppendError::NotMember => Refusal::ConvoNotFound.into(),
            AppendError::Store(error) => error.into(),
        }
    }
}

impl From<PassingError> for XrpcError {
    fn from(error: PassingError) -> Self {
        match error {
            PassingError::Full => unavailable(
                "Too much is waiting to be passed on.",
                Duration::from_secs(1),
            ),
            PassingError::Store(error) => error.into(),
        }
    }
}

/// A change that was made: the epoch it led to, when, and its commit's receipt.
#[derive(Debug)]
pub struct Made {
    pub epoch: Epoch,
    pub received_at: CoarseTime,
    pub receipt: Option<Box<RawValue>>,
}

/// What a group change came to, as a result: the epoch it led to, or a refusal.
pub fn changed(outcome: ChangeOutcome) -> Result<Made, Refusal> {
    Err(match outcome {
        ChangeOutcome::Done {
            epoch,
            received_at,
            receipt,
        } => {
            let receipt = receipt.and_then(|json| RawValue::from_string(json).ok());
            return Ok(Made {
                epoch,
                received_at,
                receipt,
            });
        }
        ChangeOutcome::AlreadyMember => Refusal::AlreadyMember,
        ChangeOutcome::EpochMismatch { current } => Refusal::EpochMismatch { current },
        ChangeOutcome::Exists => Refusal::Conflict,
        ChangeOutcome::KeyPackageNotFound => Refusal::KeyPackageNotFound,
        ChangeOutcome::LastAdmin => Refusal::LastAdmin,
        ChangeOutcome::NotAdmin => Refusal::NotAdmin,
        ChangeOutcome::NotMember => Refusal::ConvoNotFound,
        ChangeOutcome::TargetNotMember => Refusal::TargetNotMember,
        ChangeOutcome::TooManyDevices => Refusal::TooManySeats,
        ChangeOutcome::TooManyMembers => Refusal::TooManyMembers,
        ChangeOutcome::TooManyWelcomes => Refusal::TooManyWelcomes,
        ChangeOutcome::UnknownDevice => Refusal::UnknownDevice,
        ChangeOutcome::WelcomeMismatch => Refusal::WelcomeMismatch,
    })
}

/// What a publication of key packages came to, as a result.
pub fn published(outcome: PublishOutcome) -> Result<(), XrpcError> {
    Err(match outcome {
        PublishOutcome::Done => return Ok(()),
        PublishOutcome::DuplicateKey => Refusal::DuplicatePublicKey.into(),
        PublishOutcome::Foreign => XrpcError::new(
            XrpcStatus::BadRequest,
            "InvalidKeyPackage",
            "A package among these belongs to another account or device.",
        ),
        PublishOutcome::TooManyDevices => Refusal::TooManyDevices.into(),
        PublishOutcome::TooManyKeyPackages => Refusal::TooManyKeyPackages.into(),
    })
}

/// What a request to be added anew came to, as a result.
pub fn requested(outcome: RejoinOutcome) -> Result<(), XrpcError> {
    let refused = |message| XrpcError::new(XrpcStatus::BadRequest, "InvalidKeyPackage", message);
    Err(match outcome {
        RejoinOutcome::Done => return Ok(()),
        RejoinOutcome::Foreign => refused("keyPackage: belongs to another account or device"),
        RejoinOutcome::NotMember => Refusal::ConvoNotFound.into(),
        RejoinOutcome::TooManyDevices => Refusal::TooManyDevices.into(),
        RejoinOutcome::TooManyKeyPackages => Refusal::TooManyKeyPackages.into(),
        RejoinOutcome::WrongSuite => {
            refused("keyPackage: is of another cipher suite than the conversation")
        }
    })
}

impl From<BlocksError> for XrpcError {
    fn from(error: BlocksError) -> Self {
        let unknown = |status, message| Self::new(status, "BlueskyServiceUnavailable", message);
        match error {
            // Asking again will not help, and nothing here is broken.
            BlocksError::NobodyToAsk => {
                let message = "this relay has no AppView to ask about blocks";
                unknown(XrpcStatus::BadRequest, message)
            }
            BlocksError::TooManyQuestions => Refusal::TooManyDids.into(),
            BlocksError::TooOften { retry_after } => {
                let message = "too much was asked about blocks";
                Self::new(XrpcStatus::TooManyRequests, "RateLimitExceeded", message)
                    .come_back_in(retry_after)
            }
            BlocksError::Unavailable => {
                let message = "the AppView that knows of blocks does not answer at the moment";
                unknown(XrpcStatus::Unavailable, message).retry_after(Duration::from_secs(5))
            }
        }
    }
}

/// One account was claimed from too often by this caller: which, by its place in what was
/// asked.
pub fn claimed_too_often(place: usize, retry_after: Duration) -> XrpcError {
    let message = format!("dids[{place}]: you have claimed key packages of this account too often");
    XrpcError::new(XrpcStatus::TooManyRequests, "RateLimitExceeded", message)
        .come_back_in(retry_after)
}

/// The relay cannot now; it may soon.
pub fn unavailable(message: &'static str, retry_after: Duration) -> XrpcError {
    XrpcError::new(XrpcStatus::Unavailable, "NotEnoughResources", message).retry_after(retry_after)
}

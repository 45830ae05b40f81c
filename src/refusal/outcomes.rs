//! Pure. What the store and the other areas say to a call, as a result for it.

use std::time::Duration;

use serde_json::value::RawValue;

use super::{Refusal, too_often, unavailable};
use crate::auth::AuthError;
use crate::blocks::BlocksError;
use crate::events::PassingError;
use crate::store::{AppendError, ChangeOutcome, PublishOutcome, RejoinOutcome, SeatBounds};
use crate::types::{CoarseTime, Did, Epoch};
use crate::wire::{XrpcError, XrpcStatus};

impl From<AppendError> for XrpcError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict => Refusal::Conflict.into(),
            AppendError::EpochMismatch { current } => Refusal::EpochMismatch { current }.into(),
            AppendError::Full { retry_after } => {
                unavailable("too many messages wait to be stored", retry_after)
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
            PassingError::Full => {
                unavailable("too much waits to be passed on", Duration::from_secs(1))
            }
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

/// Why a change was refused, and whom that is about, if it is about somebody who would be
/// added.
#[derive(Debug)]
pub struct Refused {
    refusal: Refusal,
    whom: Vec<Did>,
}

impl Refused {
    /// Names them by their places in the list that the call named them in. Whoever is not in
    /// it comes by the Welcome: a further device of a founder.
    pub fn among(self, field: &str, named: &[Did]) -> XrpcError {
        let about = named.iter().enumerate();
        let about = about.filter(|(_, did)| self.whom.contains(did));
        let mut places: Vec<String> = about
            .map(|(place, _)| format!("{field}[{place}]"))
            .collect();
        if self.whom.iter().any(|did| !named.contains(did)) {
            places.push("welcomeMessage".to_owned());
        }
        let mut error = XrpcError::from(self.refusal);
        if !places.is_empty() {
            error.message = format!("{}: {}", places.join(", "), error.message).into();
        }
        error
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let whom = Vec::new();
        Self { refusal, whom }
    }
}

impl From<Refused> for XrpcError {
    fn from(refused: Refused) -> Self {
        refused.refusal.into()
    }
}

/// What a group change came to within its bounds, as a result: the epoch it led to, or a
/// refusal.
pub fn changed(outcome: ChangeOutcome, bounds: SeatBounds) -> Result<Made, Refused> {
    let about = |refusal, whom| Err(Refused { refusal, whom });
    let refusal = match outcome {
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
        ChangeOutcome::AlreadyMember { whom } => return about(Refusal::AlreadyMember, whom),
        ChangeOutcome::EpochMismatch { current } => Refusal::EpochMismatch { current },
        ChangeOutcome::Exists => Refusal::Conflict,
        ChangeOutcome::KeyPackageNotFound { whom } => {
            return about(Refusal::KeyPackageNotFound, whom);
        }
        ChangeOutcome::LastAdmin => Refusal::LastAdmin,
        ChangeOutcome::NotAdmin => Refusal::NotAdmin,
        ChangeOutcome::NotMember => Refusal::ConvoNotFound,
        ChangeOutcome::TargetNotMember => Refusal::TargetNotMember,
        ChangeOutcome::TooManyConvos { whom } => {
            let most = bounds.convos_max;
            return about(Refusal::TooManyConvos { most }, whom);
        }
        ChangeOutcome::TooManyDevices { whom } => {
            let most = bounds.devices_max;
            return about(Refusal::TooManySeats { most }, whom);
        }
        ChangeOutcome::TooManyMembers { most } => Refusal::TooManyMembers { most },
        ChangeOutcome::TooManyWelcomes { whom } => {
            let (convos, bytes) = (bounds.unconfirmed_convos_max, bounds.welcome_bytes_max);
            return about(Refusal::TooManyWelcomes { convos, bytes }, whom);
        }
        ChangeOutcome::UnknownDevice => Refusal::UnknownDevice,
        ChangeOutcome::WelcomeMismatch => Refusal::WelcomeMismatch,
    };
    Err(refusal.into())
}

/// What a publication of key packages came to, as a result, within so many devices of the
/// account and packages of the device.
pub fn published(outcome: PublishOutcome, devices: u32, packages: u32) -> Result<(), XrpcError> {
    let refusal = match outcome {
        PublishOutcome::Done => return Ok(()),
        PublishOutcome::DuplicateKey => Refusal::DuplicatePublicKey,
        PublishOutcome::Foreign => Refusal::ForeignKeyPackage,
        PublishOutcome::TooManyDevices => Refusal::TooManyDevices { most: devices },
        PublishOutcome::TooManyKeyPackages => Refusal::TooManyKeyPackages { most: packages },
    };
    Err(refusal.into())
}

/// What a request to be added anew came to, as a result, within the same bounds.
pub fn requested(outcome: RejoinOutcome, devices: u32, packages: u32) -> Result<(), XrpcError> {
    let refusal = match outcome {
        RejoinOutcome::Done => return Ok(()),
        RejoinOutcome::Foreign => Refusal::ForeignKeyPackage,
        RejoinOutcome::NotMember => Refusal::ConvoNotFound,
        RejoinOutcome::TooManyDevices => Refusal::TooManyDevices { most: devices },
        RejoinOutcome::TooManyKeyPackages => Refusal::TooManyKeyPackages { most: packages },
        RejoinOutcome::WrongSuite => Refusal::ForeignSuite,
    };
    Err(refusal.into())
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
                too_often("too much was asked about blocks", retry_after)
            }
            BlocksError::Unavailable { retry_after } => {
                let message = "the AppView that knows of blocks does not answer at the moment";
                unknown(XrpcStatus::Unavailable, message).retry_after(retry_after)
            }
        }
    }
}

/// One account was claimed from too often by this caller: which, by its place in what was
/// asked.
pub fn claimed_too_often(place: usize, retry_after: Duration) -> XrpcError {
    let message = format!("dids[{place}]: you have claimed key packages of this account too often");
    too_often(message, retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_in_the_way_is_named_by_place_and_a_founders_other_device_by_the_welcome() {
        let [a, b, c] = ["a", "b", "c"].map(|name| Did::parse(&format!("did:plc:{name}")).unwrap());
        let named = [a.clone(), b.clone(), a.clone()];
        for (whom, places) in [
            (vec![], ""),
            (vec![b.clone()], "didList[1]: "),
            (vec![b, a], "didList[0], didList[1], didList[2]: "),
            (vec![c], "welcomeMessage: "),
        ] {
            let outcome = ChangeOutcome::TooManyWelcomes { whom };
            let refused = changed(outcome, SeatBounds::default()).unwrap_err();
            let told = refused.among("didList", &named);
            assert_eq!(told.name, "TooManyWelcomes");
            assert_eq!(
                told.message,
                format!(
                    "{places}an account would have over 500 conversations or 134217728 bytes of \
                     Welcomes waiting, or strangers' over half of that; leave it out"
                )
            );
        }
    }

    #[test]
    fn a_publication_is_told_the_bound_that_it_met() {
        let (devices, packages) = ("you have 3 devices", "over 7 unclaimed key packages");
        for (refused, bound) in [
            (published(PublishOutcome::TooManyDevices, 3, 7), devices),
            (
                published(PublishOutcome::TooManyKeyPackages, 3, 7),
                packages,
            ),
            (requested(RejoinOutcome::TooManyDevices, 3, 7), devices),
            (requested(RejoinOutcome::TooManyKeyPackages, 3, 7), packages),
        ] {
            let told = refused.unwrap_err().message;
            assert!(told.contains(bound), "{told}");
        }
    }
}

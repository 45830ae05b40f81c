//! Pure. What the calls themselves are refused for.

use crate::types::Epoch;
use crate::wire::{XrpcError, XrpcStatus};

macro_rules! refusals {
    ($($variant:ident = $status:ident $name:literal $message:literal,)+) => {
        /// What a call may be refused for, by the names of the lexicons. A caller who is
        /// not a member hears `ConvoNotFound`, as if there were no such conversation.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Refusal {
            $($variant,)+
            EpochMismatch { current: Epoch },
        }

        impl From<Refusal> for XrpcError {
            fn from(refusal: Refusal) -> Self {
                match refusal {
                    $(Refusal::$variant => Self::new(XrpcStatus::$status, $name, $message),)+
                    Refusal::EpochMismatch { current } => {
                        let message = format!("The conversation is in epoch {}.", current.get());
                        Self::new(XrpcStatus::Conflict, "EpochMismatch", message)
                            .current_epoch(current)
                    }
                }
            }
        }
    };
}

refusals! {
    AlreadyAdmin = BadRequest "AlreadyAdmin" "The account is an admin.",
    AlreadyMember = Conflict "AlreadyMember"
        "a device that the Welcome is for is a member already",
    AlreadyResolved = BadRequest "AlreadyResolved" "Somebody has dealt with this report.",
    BlockNotVerified = BadRequest "BlockNotVerified"
        "The AppView does not say so: try again when it does.",
    BlockedByMember = Forbidden "BlockedByMember"
        "didList: an account in it blocks a member, or is blocked by one.",
    CannotRemoveSelf = BadRequest "CannotRemoveSelf" "To go yourself, call leaveConvo.",
    CannotReportSelf = BadRequest "CannotReportSelf" "Nobody can report themselves.",
    Conflict = Conflict "Conflict"
        "This id or idempotencyKey came before with other bytes: send those, or take a new one.",
    ConvoNotFound = NotFound "ConvoNotFound" "There is no such conversation among yours.",
    DuplicatePublicKey = Conflict "DuplicatePublicKey"
        "Another device is registered with this signature key.",
    GroupInfoUnavailable = NotFound "GroupInfoUnavailable"
        "No member has left a GroupInfo of the current epoch.",
    InvalidCursor = BadRequest "InvalidCursor"
        "This cursor is not one that the relay gave out.",
    InvalidDid = BadRequest "InvalidDid" "Only your own account can be asked about.",
    InvalidEpochRange = BadRequest "InvalidEpochRange" "The first epoch is after the last.",
    KeyPackageNotFound = NotFound "KeyPackageNotFound"
        "the Welcome is for a key package that the relay does not hold",
    LastAdmin = BadRequest "LastAdmin"
        "The last admin cannot go while others stay: promote somebody first.",
    MethodNotAllowed = MethodNotAllowed "InvalidRequest"
        "Queries are GET requests, procedures are POST requests.",
    MethodNotImplemented = NotImplemented "MethodNotImplemented"
        "The relay does not implement this method.",
    MutualBlockDetected = Forbidden "MutualBlockDetected"
        "initialMembers: accounts in it block each other, or one of them you.",
    NotAParty = Forbidden "NotAuthorized"
        "Only the one who blocks or the one who is blocked may say so.",
    NotAdmin = Forbidden "NotAdmin" "Only an admin may do this.",
    NotAdminTarget = BadRequest "NotAdminTarget" "The account is not an admin.",
    NotAuthorized = Forbidden "NotAuthorized"
        "Numbers are given for one conversation, to its admins.",
    ReportNotFound = NotFound "ReportNotFound"
        "There is no such report among your conversations'.",
    TargetNotMember = NotFound "NotMember" "The account or device is not in this conversation.",
    TooManyConvos = BadRequest "TooManyConvos"
        "already in as many conversations as an account may be",
    TooManyDevices = BadRequest "TooManyDevices"
        "The account has as many devices as it may have.",
    TooManyDids = BadRequest "TooManyDids"
        "dids: that would take too many questions; ask about fewer at once.",
    TooManyKeyPackages = BadRequest "TooManyKeyPackages"
        "The device has as many unclaimed key packages as it may have.",
    TooManyMembers = BadRequest "TooManyMembers"
        "The conversation would have more devices than it may have.",
    TooManyReports = BadRequest "TooManyReports"
        "As many reports of yours wait for this conversation's admins as may.",
    TooManySeats = BadRequest "TooManyDevices"
        "an account would have more devices in the conversation than it may have",
    TooManyWelcomes = BadRequest "TooManyWelcomes"
        "too much waits already for an account that would be added: leave it out",
    UnknownDevice = BadRequest "InvalidRequest" "deviceId: must be a registered device of yours",
    WelcomeMismatch = BadRequest "InvalidRequest"
        "welcomeMessage: must be for key packages of exactly the members that are added",
    WelcomeNotFound = NotFound "WelcomeNotFound" "No Welcome is waiting for you here.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loser_of_a_race_hears_the_current_epoch() {
        let current = Epoch::try_from(7).unwrap();
        let error = XrpcError::from(Refusal::EpochMismatch { current });
        assert_eq!(error.name, "EpochMismatch");
        assert_eq!(error.status, XrpcStatus::Conflict);
        assert!(error.message.contains('7'));
        assert_eq!(error.current_epoch, Some(current));
    }
}

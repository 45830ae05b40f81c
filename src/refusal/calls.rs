//! Pure. What the calls themselves are refused for.

use crate::types::Epoch;
use crate::wire::{XrpcError, XrpcStatus};

/// What a call may be refused for, by the names of the lexicons. A caller who is
/// not a member hears `ConvoNotFound`, as if there were no such conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    AlreadyAdmin,
    AlreadyMember,
    AlreadyResolved,
    BlockNotVerified,
    BlockedByMember,
    CannotRemoveSelf,
    CannotReportSelf,
    Conflict,
    ConvoNotFound,
    DuplicatePublicKey,
    EpochMismatch { current: Epoch },
    ExpirationTooFar,
    GroupInfoUnavailable,
    InvalidCursor,
    InvalidDid,
    InvalidEpochRange,
    KeyPackageNotFound,
    LastAdmin,
    MethodNotAllowed,
    MethodNotImplemented,
    MutualBlockDetected,
    NotAParty,
    NotAdmin,
    NotAdminTarget,
    NotAuthorized,
    ReportNotFound,
    TargetNotMember,
    TooManyDevices,
    TooManyDids,
    TooManyKeyPackages,
    TooManyMembers,
    WelcomeMismatch,
    WelcomeNotFound,
}

impl From<Refusal> for XrpcError {
    fn from(refusal: Refusal) -> Self {
        use XrpcStatus::{BadRequest, Conflict, Forbidden, MethodNotAllowed, NotFound};
        let (status, name, message) = match refusal {
            Refusal::AlreadyAdmin => (BadRequest, "AlreadyAdmin", "The account is an admin."),
            Refusal::AlreadyMember => (
                Conflict,
                "AlreadyMember",
                "A device that the Welcome is for is a member already.",
            ),
            Refusal::AlreadyResolved => (
                BadRequest,
                "AlreadyResolved",
                "Somebody has dealt with this report.",
            ),
            Refusal::BlockNotVerified => (
                BadRequest,
                "BlockNotVerified",
                "The AppView does not say so: try again when it does.",
            ),
            Refusal::BlockedByMember => (
                Forbidden,
                "BlockedByMember",
                "didList: an account in it blocks a member, or is blocked by one.",
            ),
            Refusal::CannotRemoveSelf => (
                BadRequest,
                "CannotRemoveSelf",
                "To go yourself, call leaveConvo.",
            ),
            Refusal::CannotReportSelf => (
                BadRequest,
                "CannotReportSelf",
                "Nobody can report themselves.",
            ),
            Refusal::Conflict => (
                Conflict,
                "Conflict",
                "This id is taken by something else that was sent before.",
            ),
            Refusal::ConvoNotFound => (
                NotFound,
                "ConvoNotFound",
                "There is no such conversation among yours.",
            ),
            Refusal::DuplicatePublicKey => (
                Conflict,
                "DuplicatePublicKey",
                "Another device is registered with this signature key.",
            ),
            Refusal::EpochMismatch { current } => {
                let message = format!("The conversation is in epoch {}.", current.get());
                return Self::new(Conflict, "EpochMismatch", message);
            }
            Refusal::ExpirationTooFar => (
                BadRequest,
                "ExpirationTooFar",
                "A key package may be kept for 90 days at most.",
            ),
            Refusal::GroupInfoUnavailable => (
                NotFound,
                "GroupInfoUnavailable",
                "No member has left a GroupInfo of the current epoch.",
            ),
            Refusal::InvalidCursor => (
                BadRequest,
                "InvalidCursor",
                "This cursor is not one that the relay gave out.",
            ),
            Refusal::InvalidDid => (
                BadRequest,
                "InvalidDid",
                "Only your own account can be asked about.",
            ),
            Refusal::InvalidEpochRange => (
                BadRequest,
                "InvalidEpochRange",
                "The first epoch is after the last.",
            ),
            Refusal::KeyPackageNotFound => (
                NotFound,
                "KeyPackageNotFound",
                "The Welcome is for a key package that the relay does not hold.",
            ),
            Refusal::LastAdmin => (
                BadRequest,
                "LastAdmin",
                "The last admin cannot go while others stay: promote somebody first.",
            ),
            Refusal::MethodNotAllowed => (
                MethodNotAllowed,
                "InvalidRequest",
                "Queries are GET requests, procedures are POST requests.",
            ),
            Refusal::MethodNotImplemented => (
                XrpcStatus::NotImplemented,
                "MethodNotImplemented",
                "The relay does not implement this method.",
            ),
            Refusal::MutualBlockDetected => (
                Forbidden,
                "MutualBlockDetected",
                "initialMembers: accounts in it block each other, or one of them you.",
            ),
            Refusal::NotAParty => (
                Forbidden,
                "NotAuthorized",
                "Only the one who blocks or the one who is blocked may say so.",
            ),
            Refusal::NotAdmin => (Forbidden, "NotAdmin", "Only an admin may do this."),
            Refusal::NotAdminTarget => {
                (BadRequest, "NotAdminTarget", "The account is not an admin.")
            }
            Refusal::NotAuthorized => (
                Forbidden,
                "NotAuthorized",
                "Numbers are given for one conversation, to its admins.",
            ),
            Refusal::ReportNotFound => (
                NotFound,
                "ReportNotFound",
                "There is no such report among your conversations'.",
            ),
            Refusal::TargetNotMember => (
                NotFound,
                "NotMember",
                "The account or device is not in this conversation.",
            ),
            Refusal::TooManyDevices => (
                BadRequest,
                "TooManyDevices",
                "The account has as many devices as it may have.",
            ),
            Refusal::TooManyDids => (
                BadRequest,
                "TooManyDids",
                "dids: that would take too many questions; ask about fewer at once.",
            ),
            Refusal::TooManyKeyPackages => (
                BadRequest,
                "TooManyKeyPackages",
                "The device has as many unclaimed key packages as it may have.",
            ),
            Refusal::TooManyMembers => (
                BadRequest,
                "TooManyMembers",
                "The conversation would have more devices than it may have.",
            ),
            Refusal::WelcomeMismatch => (
                BadRequest,
                "InvalidRequest",
                "welcomeMessage: must be for key packages of exactly the members that are added",
            ),
            Refusal::WelcomeNotFound => (
                NotFound,
                "WelcomeNotFound",
                "No Welcome is waiting for you here.",
            ),
        };
        Self::new(status, name, message)
    }
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
    }
}

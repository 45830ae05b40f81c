//! Pure. What the calls themselves are refused for.

use crate::types::Epoch;
use crate::wire::{XrpcError, XrpcStatus};

macro_rules! refusals {
    ($($variant:ident $(($($bound:ident: $of:ty),+))? = $status:ident $name:literal
        $message:literal,)+) => {
        /// What a call may be refused for, by the names of the lexicons. A caller who is
        /// not a member hears `ConvoNotFound`, as if there were no such conversation.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Refusal {
            $($variant $({ $($bound: $of),+ })?,)+
            EpochMismatch { current: Epoch },
        }

        impl Refusal {
            /// Each, with some number for a bound; but for the one with an epoch.
            pub const ALL: &[Self] = &[$(Self::$variant $({ $($bound: 7),+ })?,)+];
        }

        impl From<Refusal> for XrpcError {
            fn from(refusal: Refusal) -> Self {
                match refusal {
                    $(Refusal::$variant $({ $($bound),+ })? => {
                        Self::new(XrpcStatus::$status, $name, format!($message))
                    })+
                    Refusal::EpochMismatch { current } => {
                        let message = format!("the conversation is in epoch {}", current.get());
                        Self::new(XrpcStatus::Conflict, "EpochMismatch", message)
                            .current_epoch(current)
                    }
                }
            }
        }
    };
}

refusals! {
    AlreadyAdmin = BadRequest "AlreadyAdmin" "targetDid: is an admin",
    AlreadyMember = Conflict "AlreadyMember"
        "a device that the Welcome is for is a member already",
    AlreadyResolved = BadRequest "AlreadyResolved"
        "reportId: is of a report that somebody has dealt with",
    BlockNotVerified = BadRequest "BlockNotVerified"
        "the AppView does not say so; try again when it does",
    BlockedByMember = Forbidden "BlockedByMember"
        "didList: has an account that blocks a member, or is blocked by one; leave it out",
    CannotRemoveSelf = BadRequest "CannotRemoveSelf"
        "targetDid: must not be you; to go yourself, call leaveConvo",
    CannotReportSelf = BadRequest "CannotReportSelf" "reportedDid: must not be you",
    Conflict = Conflict "Conflict"
        "this id or idempotencyKey came before with other bytes; send those, or take a new one",
    ConvoNotFound = NotFound "ConvoNotFound" "there is no such conversation among yours",
    DuplicatePublicKey = Conflict "DuplicatePublicKey"
        "signaturePublicKey: is that of another device",
    ForeignKeyPackage = BadRequest "InvalidKeyPackage"
        "a key package among these was published for another account or device",
    ForeignSuite = BadRequest "InvalidKeyPackage"
        "keyPackage: must be of the conversation's cipher suite",
    GroupInfoUnavailable = NotFound "GroupInfoUnavailable"
        "no member has left a GroupInfo of the current epoch; call requestRejoin",
    Internal = Internal "InternalServerError" "something went wrong in the relay",
    InvalidCursor = BadRequest "InvalidCursor"
        "cursor: is not one that the relay gave out",
    InvalidDid = BadRequest "InvalidDid" "did: must be your own account",
    InvalidEpochRange = BadRequest "InvalidEpochRange" "fromEpoch: must not be over toEpoch",
    KeyPackageNotFound = NotFound "KeyPackageNotFound"
        "the Welcome is for a key package that the relay does not hold; claim anew",
    LastAdmin = BadRequest "LastAdmin"
        "the last admin cannot go while others stay; promote somebody first",
    MessageNotFound = BadRequest "InvalidCursor"
        "sinceMessage: is of no message that is still here; read by sinceSeq",
    MethodNotImplemented = NotImplemented "MethodNotImplemented"
        "there is no such method here",
    MutualBlockDetected = Forbidden "MutualBlockDetected"
        "initialMembers: has accounts that block each other, or one of them you; leave them apart",
    NotAParty = Forbidden "NotAuthorized"
        "blockerDid, blockedDid: must be two accounts, one of them you",
    NotAdmin = Forbidden "NotAdmin" "only an admin may do this",
    NotAdminTarget = BadRequest "NotAdminTarget" "targetDid: is not an admin",
    NotAuthorized = Forbidden "NotAuthorized"
        "convoId: must be given, for an admin hears of one conversation",
    ReportNotFound = NotFound "ReportNotFound"
        "reportId: is of no report in your conversations",
    TargetNotMember = NotFound "NotMember" "the account or device is not in this conversation",
    TooManyConvos(most: u32) = BadRequest "TooManyConvos"
        "already in {most} conversations or more, the most for an account; leaveConvo makes room",
    TooManyDevices(most: u32) = BadRequest "TooManyDevices"
        "you have {most} devices or more, the most for an account; deleteDevice makes room",
    TooManyDids = BadRequest "TooManyDids"
        "dids: has so many that the AppView would be asked too much; ask about fewer",
    TooManyKeyPackages(most: u32) = BadRequest "TooManyKeyPackages"
        "the device would have over {most} unclaimed key packages; publish fewer",
    TooManyMembers(most: u32) = BadRequest "TooManyMembers"
        "the conversation would have over {most} devices, the most that it may",
    TooManyReports(most: u32) = BadRequest "TooManyReports"
        "{most} reports of yours or more wait for this conversation's admins; report it later",
    TooManySeats(most: u32) = BadRequest "TooManyDevices"
        "an account would have over {most} devices in the conversation; deleteDevice makes room",
    TooManyWelcomes(convos: u32, bytes: u64) = BadRequest "TooManyWelcomes"
        "an account would have over {convos} conversations or {bytes} bytes of Welcomes waiting, or \
         strangers' over half of that; leave it out",
    UnknownDevice = BadRequest "InvalidRequest" "deviceId: must be a registered device of yours",
    WelcomeMismatch = BadRequest "InvalidRequest"
        "welcomeMessage: must be for key packages of exactly the members that are added",
    WelcomeNotFound = NotFound "WelcomeNotFound" "no Welcome waits for you here",
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

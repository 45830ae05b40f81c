//! From a call's name to its handler: what goes in is decoded here, what comes out
//! is JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Context;
use super::{
    blocks, consent, convos, devices, group_info, key_packages, membership, messages, rejoin,
    reports, roles, tickets, welcomes,
};
use crate::refusal::Refusal;
use crate::types::Nsid;
use crate::wire::{XrpcError, decode_body, decode_query};

/// An answer's JSON.
pub(super) type Answer = Result<Vec<u8>, XrpcError>;

/// Declares which handler serves which call, once for all.
macro_rules! handlers {
    ($name:ident($input:ident: $source:ty, $decode:path), $list:ident,
     $($call:ident => $handler:path),+ $(,)?) => {
        pub(super) async fn $name(call: Nsid, cx: &Context, $input: $source) -> Answer {
            let _turn = cx.turn(call).await?;
            match call {
                $(Nsid::$call => json(&$handler(cx, $decode($input)?).await?),)+
                _ => Err(Refusal::MethodNotImplemented.into()),
            }
        }

        #[cfg(test)]
        const $list: &[Nsid] = &[$(Nsid::$call),+];
    };
}

handlers! {
    query(raw: Option<&str>, decode_query), QUERIES,
    CheckBlocks => blocks::check,
    GetAdminStats => reports::stats,
    GetBlockStatus => blocks::status,
    GetCommits => messages::commits,
    GetConvos => convos::list,
    GetEpoch => convos::epoch,
    GetGroupInfo => group_info::get,
    GetKeyPackageStats => key_packages::stats,
    GetKeyPackages => key_packages::claim,
    GetMessages => messages::page,
    GetOptInStatus => consent::status,
    GetReports => reports::list,
    GetWelcome => welcomes::fetch,
    ListDevices => devices::list,
}

handlers! {
    procedure(body: &[u8], input), PROCEDURES,
    AddMembers => membership::add,
    ConfirmWelcome => welcomes::confirm,
    CreateConvo => convos::create,
    DeleteDevice => devices::delete,
    DemoteAdmin => roles::demote,
    GetSubscriptionTicket => tickets::subscription,
    HandleBlockChange => blocks::change,
    LeaveConvo => membership::leave,
    OptIn => consent::opt_in,
    OptOut => consent::opt_out,
    ProcessExternalCommit => rejoin::by_external_commit,
    PromoteAdmin => roles::promote,
    PublishKeyPackage => key_packages::publish_one,
    PublishKeyPackages => key_packages::publish_many,
    RegisterDevice => devices::register,
    RemoveMember => membership::remove,
    ReportMember => reports::report,
    RequestRejoin => rejoin::request,
    ResolveReport => reports::resolve,
    SendEphemeral => messages::send_ephemeral,
    SendMessage => messages::send,
    SyncKeyPackages => key_packages::sync,
    UpdateCursor => messages::update_cursor,
    UpdateGroupInfo => group_info::update,
}

/// The input of a procedure. No body at all is an empty object: what is missing
/// is then named.
fn input<T: DeserializeOwned>(body: &[u8]) -> Result<T, XrpcError> {
    decode_body(if body.is_empty() { b"{}" } else { body })
}

fn json<T: Serialize>(value: &T) -> Answer {
    serde_json::to_vec(value).map_err(|_| Refusal::Internal.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    #[test]
    fn every_call_is_served_by_its_kind() {
        assert!(QUERIES.iter().all(|call| call.kind() == Kind::Query));
        assert!(PROCEDURES.iter().all(|call| call.kind() == Kind::Procedure));
        // The streams are the sessions'.
        let streams = [Nsid::StreamConvoEvents, Nsid::SubscribeConvoEvents];
        let is_served = |call: &&Nsid| QUERIES.contains(*call) || PROCEDURES.contains(*call);
        let unserved = Nsid::ALL.iter().filter(|call| !is_served(call));
        assert!(unserved.eq(&streams));
    }
}

//! processExternalCommit, requestRejoin: a device that lost its state comes back, by
//! itself or through somebody who adds it.

use super::context::Context;
use super::handshake::{self, ReadCommit};
use super::packages::{UNKNOWN_SUITE, refused};
use crate::mls::KeyPackage;
use crate::refusal::{changed, requested};
use crate::store::{GroupChange, RejoinRequest};
use crate::types::CipherSuite;
use crate::wire::XrpcError;
use crate::wire::calls::{
    KeyPackageInput, ProcessExternalCommit, RejoinRequested, Rejoined, RequestRejoin,
};

/// A member's device comes back by an external commit.
pub(super) async fn by_external_commit(
    cx: &Context,
    input: ProcessExternalCommit,
) -> Result<Rejoined, XrpcError> {
    let convo = input.convo_id;
    let standing = cx.standing(&convo).await?;
    let signing = cx.signing(&standing);
    let commit = &input.external_commit;
    let (commit, rejoining) =
        ReadCommit::external(commit, &convo, cx.did(), cx.now_coarse(), &signing)?;
    let group_info = handshake::group_info(
        input.group_info.as_ref(),
        &convo,
        standing.cipher_suite,
        commit.epoch.next(),
    )?;
    let change = GroupChange {
        commit: Some(commit),
        rejoining: Some(rejoining),
        group_info,
        ..cx.change(convo)
    };
    let made = changed(cx.store.change_group(&change).await?, change.bounds)?;
    Ok(Rejoined {
        epoch: made.epoch,
        rejoined_at: made.received_at,
        receipt: made.receipt,
    })
}

/// Asks the members to add a device anew.
pub(super) async fn request(
    cx: &Context,
    input: RequestRejoin,
) -> Result<RejoinRequested, XrpcError> {
    let intake = cx.intake(None, None);
    let bytes = input.key_package.as_slice();
    let package = KeyPackage::parse(bytes).map_err(refused)?;
    let suite = CipherSuite::from_number(package.suite_number);
    let suite = suite.ok_or_else(|| refused(UNKNOWN_SUITE))?;
    let accepted = intake.accept(&KeyPackageInput::bare(input.key_package, suite))?;
    let request = RejoinRequest {
        convo: input.convo_id,
        user: cx.did().clone(),
        device: accepted.device,
        package: accepted.package,
        open_max: cx.settings.key_packages_max,
        devices_max: cx.settings.seats.devices_max,
        quiet: cx.settings.rejoin_quiet,
    };
    let outcome = cx.store.request_rejoin(&request).await?;
    requested(outcome, request.devices_max, request.open_max)?;
    Ok(RejoinRequested {
        request_id: format!("{}-{}-rejoin", request.convo.expose(), cx.did().expose()),
        pending: true,
    })
}

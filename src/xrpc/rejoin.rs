//! processExternalCommit, requestRejoin: a device that lost its state comes back, by
//! itself or through somebody who adds it.

use super::context::Context;
use super::handshake::{self, ReadCommit, Signing};
use super::packages::Intake;
use crate::mls::KeyPackage;
use crate::refusal::{changed, requested};
use crate::store::{GroupChange, Joining, RejoinRequest};
use crate::types::CipherSuite;
use crate::wire::calls::{
    KeyPackageInput, ProcessExternalCommit, RejoinRequested, Rejoined, RequestRejoin,
};
use crate::wire::{XrpcError, XrpcStatus};

/// A member's device comes back by an external commit.
pub(super) async fn by_external_commit(
    cx: &Context,
    input: ProcessExternalCommit,
) -> Result<Rejoined, XrpcError> {
    let convo = input.convo_id;
    let standing = cx.standing(&convo).await?;
    let signing = Signing {
        signer: &cx.receipts,
        previous: standing.receipt_hash,
    };
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
        convo,
        caller: cx.did().clone(),
        commit: Some(commit),
        joining: Joining::default(),
        leaving: None,
        rejoining: Some(rejoining),
        admin_only: false,
        group_info,
        bounds: cx.settings.seat_bounds(),
    };
    let made = changed(cx.store.change_group(&change).await?)?;
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
    let intake = Intake {
        caller: cx.did(),
        device: None,
        signature_key: None,
        now_unix: cx.now_unix(),
        life_max: cx.settings.key_package_life_max,
    };
    let bytes = input.key_package.as_slice();
    let suite = KeyPackage::parse(bytes).map(|package| package.suite_number);
    let suite = suite.ok().and_then(CipherSuite::from_number);
    let suite = suite.ok_or_else(|| {
        let message = "keyPackage: is no key package of a known cipher suite";
        XrpcError::new(XrpcStatus::BadRequest, "InvalidKeyPackage", message)
    })?;
    let accepted = intake.accept(&KeyPackageInput::bare(input.key_package, suite))?;
    let request = RejoinRequest {
        convo: input.convo_id,
        user: cx.did().clone(),
        device: accepted.device,
        package: accepted.package,
        open_max: cx.settings.key_packages_max,
        devices_max: cx.settings.devices_max,
        quiet: cx.settings.rejoin_quiet,
    };
    requested(cx.store.request_rejoin(&request).await?)?;
    Ok(RejoinRequested {
        request_id: format!("{}-{}-rejoin", request.convo.expose(), cx.did().expose()),
        pending: true,
    })
}

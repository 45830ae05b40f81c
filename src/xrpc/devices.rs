//! registerDevice, listDevices, deleteDevice.

use futures_util::{StreamExt, TryStreamExt};

use super::context::Context;
use super::key_packages::{at_index, judged};
use crate::refusal::published;
use crate::store::NewDevice;
use crate::types::DeviceId;
use crate::wire::XrpcError;
use crate::wire::calls::{
    DeleteDevice, Deleted, Devices, NoInput, RegisterDevice, Registered, device_did,
};

/// Registers a device with its first key packages, or registers it anew.
pub(super) async fn register(cx: &Context, input: RegisterDevice) -> Result<Registered, XrpcError> {
    let signature_key = input.signature_public_key.as_slice();
    let device = input
        .device_uuid
        .unwrap_or_else(|| DeviceId::of_key(cx.did(), signature_key));
    let intake = cx.intake(Some(&device), Some(signature_key));
    let judged = judged(&intake, input.key_packages.as_slice()).enumerate();
    let packages = judged.map(|(index, judged)| match judged {
        Ok(accepted) => Ok(accepted.package),
        Err(error) => Err(at_index(index, error)),
    });
    let packages = packages.try_collect().await?;
    let new = NewDevice {
        user: cx.did().clone(),
        device: device.clone(),
        name: input.device_name.into_string(),
        signature_key: signature_key.to_vec(),
        packages,
    };
    let (devices_max, open_max) = (cx.settings.seats.devices_max, cx.settings.key_packages_max);
    let told_max = cx.settings.new_device_events_max;
    let outcome = cx
        .store
        .register_device(&new, devices_max, open_max, told_max)
        .await?;
    published(outcome, devices_max, open_max)?;
    Ok(Registered {
        mls_did: device_did(cx.did(), Some(&device)),
        device_id: device,
        auto_joined_convos: Vec::new(),
    })
}

/// The caller's own devices.
pub(super) async fn list(cx: &Context, _: NoInput) -> Result<Devices, XrpcError> {
    Ok(Devices {
        devices: cx.store.devices(cx.did()).await?,
    })
}

/// Ends one of the caller's own devices.
pub(super) async fn delete(cx: &Context, input: DeleteDevice) -> Result<Deleted, XrpcError> {
    let gone = cx
        .store
        .delete_device(cx.did(), &input.device_id, cx.now)
        .await?;
    Ok(Deleted {
        deleted: gone.is_some(),
        key_packages_deleted: gone.map_or(0, |gone| gone.key_packages),
        conversations_left: gone.map_or(0, |gone| gone.conversations),
    })
}

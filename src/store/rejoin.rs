//! Asking to be added anew.

use std::time::Duration;

use super::{NewKeyPackage, Store, StoreError, rows};
use crate::types::{ConvoId, DeviceId, Did};

/// A device that asks to be added anew, with the key package for it.
#[derive(Clone, Debug)]
pub struct RejoinRequest {
    pub convo: ConvoId,
    pub user: Did,
    pub device: Option<DeviceId>,
    pub package: NewKeyPackage,
    /// Unclaimed key packages that the device may have.
    pub open_max: u32,
    /// Devices that the account may have.
    pub devices_max: u32,
    /// The members are told once in this time.
    pub quiet: Duration,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RejoinOutcome {
    /// The members were told, now or not long ago.
    Done,
    /// The package belongs to another account or device.
    Foreign,
    /// It was never in there, or an admin ended its stay.
    NotMember,
    TooManyDevices,
    TooManyKeyPackages,
    /// The conversation speaks another cipher suite.
    WrongSuite,
}

impl Store {
    /// Keeps the key package and tells the members.
    pub async fn request_rejoin(
        &self,
        request: &RejoinRequest,
    ) -> Result<RejoinOutcome, StoreError> {
        let package = &request.package;
        let row = &self
            .query_one(
                "SELECT request_rejoin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, \
                 make_interval(secs => $11), $12) AS outcome",
                &[
                    &request.convo.expose(),
                    &request.user.expose(),
                    &request.device.as_ref().map(DeviceId::expose),
                    &rows::suite_number(package.cipher_suite),
                    &package.bytes,
                    &package.hash.as_slice(),
                    &package.reference,
                    &package.last_resort,
                    &package.expires_at.to_utc(),
                    &i32::try_from(request.open_max).unwrap_or(i32::MAX),
                    &request.quiet.as_secs_f64(),
                    &i32::try_from(request.devices_max).unwrap_or(i32::MAX),
                ],
            )
            .await?;
        Ok(match rows::get(row, "outcome")? {
            "done" => RejoinOutcome::Done,
            "absent" => RejoinOutcome::NotMember,
            "foreign" => RejoinOutcome::Foreign,
            "suite" => RejoinOutcome::WrongSuite,
            "too_many_devices" => RejoinOutcome::TooManyDevices,
            "too_many_key_packages" => RejoinOutcome::TooManyKeyPackages,
            _ => return Err(StoreError::Shape),
        })
    }
}
